"""What every command prints as JSON, stored, and the test that holds the commands to it."""
