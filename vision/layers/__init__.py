"""Parts that any convolutional network can be given: norms, activations, dropout, initialisation, pooling."""
