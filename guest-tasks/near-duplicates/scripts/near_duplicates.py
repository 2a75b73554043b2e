"""Finds lines of a text that say nearly the same, as the component beside it does:
`omnimind run near_duplicates.py --input '{"text": "…", "threshold": 0.8}'`.
"""

from omnimind import embed_tensor, embedding_model

MAX_PAIRS = 1000


def run(request):
    lines = enumerate(request["text"].splitlines(), 1)
    # Those that say something.
    numbered = [(number, line.strip()) for number, line in lines if any(map(str.isalnum, line))]
    threshold = request.get("threshold", 0.8)
    vectors = embed_tensor([line for _, line in numbered])
    similar = (vectors @ vectors.T).tolist()
    pairs = [
        (-similar[one][other], one, other)
        for one in range(len(numbered))
        for other in range(one + 1, len(numbered))
        if similar[one][other] >= threshold
    ]
    return {
        "model": embedding_model()["name"],
        "lines": len(numbered),
        "pairs": [
            {
                "similarity": round(-alike, 3),
                "lines": [numbered[one][0], numbered[other][0]],
                "texts": [numbered[one][1], numbered[other][1]],
            }
            for alike, one, other in sorted(pairs)[:MAX_PAIRS]
        ],
    }
