"""What people see: tables, cards, a document's fate, a plan's cost, the difference of two corpora."""
