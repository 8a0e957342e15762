SELECT position FROM {head}
