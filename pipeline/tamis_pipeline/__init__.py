"""The offline half of Tamis: from interactions and items to a bundle."""
