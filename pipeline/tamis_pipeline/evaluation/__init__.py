"""How good a recommender is: metrics with intervals, by segment, beside baselines."""
