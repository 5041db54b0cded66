"""What flows between the rooms: records, recipes, artifacts, plug-ins, results. Types only: no torch, no datatrove."""
