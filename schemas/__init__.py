"""What flows between the rooms: records, recipes, artifacts, plug-ins and results. Types only: no torch, no datatrove."""
