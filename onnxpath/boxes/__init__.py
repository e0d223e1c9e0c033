"""What two networks can do over boxes of inputs: intervals, lines, and passes back to the inputs."""
