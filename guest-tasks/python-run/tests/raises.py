import statistics


def share(n):
    return 1 / n


def run(input):
    return [share(n) for n in input]
