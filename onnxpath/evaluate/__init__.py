"""What two networks compute at points: values, gradients, differences, and the search for large ones."""
