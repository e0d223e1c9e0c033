"""One question a room: each analysis takes networks or files and returns records."""
