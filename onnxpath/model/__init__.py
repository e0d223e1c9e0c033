"""Networks in the paper's model: nodes, parameters, domains of inputs, and the match of two networks."""
