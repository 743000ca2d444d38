"""A neural network learns with every derivative written by hand.

Read layers, losses, optimizers and trainer in this order; ``__main__`` puts them together.
"""
