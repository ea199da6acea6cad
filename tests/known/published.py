"""Data whose likelihoods are published, and the models that they were published for.

Flow of the Nile at Aswan, 1871 to 1970: R's datasets; local level model in R's KFAS.
LSAT, section 6, a thousand answers to five items: R's mirt, after Thissen (1982), Psychometrika 47; Rasch and 2PL models in R's ltm.
Carcinoma of the cervix, 118 slides seen by seven pathologists: R's poLCA, after Agresti (2002), Categorical Data Analysis, table 13.1.
"""

import numpy as np

NILE = np.fromstring(
    """1120 1160 963 1210 1160 1160 813 1230 1370 1140 995 935 1110 994 1020 960 1180 799 958 1140 1100 1210 1150 1250 1260 1220 1030 1100
    774 840 874 694 940 833 701 916 692 1020 1050 969 831 726 456 824 702 1120 1100 832 764 821 768 845 864 862 698 845 744 796 1040 759 781
    865 845 944 984 897 822 1010 771 676 649 846 812 742 801 1040 860 874 848 890 744 749 838 1050 918 986 797 923 975 815 1020 906 901 1170
    912 746 919 718 714 740""",
    sep=" ",
)
NILE_VARIANCES = 15098.5, 1469.2  # of the observations and of the steps of the level
NILE_TOTAL = -632.5456  # exact diffuse start, R's KFAS: the density of all later years given the first

LSAT_COUNTS = np.array(
    [3, 6, 2, 11, 1, 1, 3, 4, 1, 8, 0, 16, 0, 3, 2, 15, 10, 29, 14, 81, 3, 28, 15, 80, 16, 56, 21, 173, 11, 61, 28, 298]
)  # of the patterns 00000, 00001, ..., 11111
LSAT_PATTERNS = np.array([[int(digit) for digit in f"{i:05b}"] for i in range(32)], dtype=float)
# slopes, then intercepts: maximum likelihood, which tests/known/test_known_truths.py finds again
RASCH = np.full(5, 0.75513451), np.array([2.73001285, 0.99860565, 0.2398537, 1.30645101, 2.09940401])
TWO_PARAMETERS = (
    np.array([0.82565995, 0.72274336, 0.89087455, 0.68836801, 0.65685562]),
    np.array([2.77323466, 0.9902009, 0.24914759, 1.28475697, 2.05327036]),
)
LSAT_TOTALS = {"rasch": -2466.938, "2pl": -2466.653}  # R's ltm

CARCINOMA = {
    "0000000": 34,
    "0000100": 2,
    "0100000": 6,
    "0100001": 1,
    "0100100": 4,
    "0100101": 5,
    "1000000": 2,
    "1010101": 1,
    "1100000": 2,
    "1100001": 1,
    "1100100": 2,
    "1100101": 7,
    "1100111": 1,
    "1101001": 1,
    "1101101": 2,
    "1101111": 3,
    "1110101": 13,
    "1110111": 5,
    "1111101": 10,
    "1111111": 16,
}
CARCINOMA_TOTALS = {2: -317.2568, 3: -293.705, 4: -289.2858}  # by the number of classes, R's poLCA
