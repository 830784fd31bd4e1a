"""What a sample and a stage cost: FLOPs, activations, and the cards that pay."""
