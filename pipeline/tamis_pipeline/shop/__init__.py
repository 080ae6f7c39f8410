"""The project's own demo shop: an invented catalogue, its pictures and its shoppers' behaviour.

``catalogue`` makes products, ``shoppers`` simulates who looks at and buys them, ``export`` writes
both as a data set for ``tamis pipeline build``, ``pictures`` draws a product. One seed decides all.
"""
