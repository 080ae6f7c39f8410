"""Models that order what retrieval found, trained on what it would have found.

``requests`` says when somebody could have been asked, ``exposures`` what would have been ranked
then, ``training`` fits a model to it, ``calibration`` makes its scores probabilities, ``export``
writes it as ONNX. The models: ``deepfm``, ``transformer``, and ``boosted`` to compare with.
"""
