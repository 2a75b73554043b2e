def run(input):
    return {1, 2}
