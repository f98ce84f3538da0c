"""Where the wrist camera really sits: solved from frames of a ChArUco board at known arm poses."""
