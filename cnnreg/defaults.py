"""What the command line must know before it knows anything else: apart from config, so that --help stays instant."""

SEED = 20180216  # fixed, so that the same command gives the same bytes
MODEL = "cardiac-cine-mr"
INITS = ("auto", "none", "center", "moments", "rigid", "similarity", "affine")
METRIC_ALIASES = {"cc": "lncc", "mattes": "mi", "meansquares": "mse"}  # the names in ANTs and elastix
