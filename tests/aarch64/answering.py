"""The numbers of a model's answer, the same on the machine that makes a bundle and on the one that runs it."""


def numbers(name, model, asked):
    """A list of floats, or one.

    Args:
        name: of the bundle.
        model: that is loaded from it.
        asked: one input: an array of an image, a row, sound, or text.
    """
    if name == "embed":
        return model.embed(str(asked))
    answer = model.predict(asked)
    if name == "image":
        return [one.score for one in sorted(answer.top, key=lambda one: one.index)]
    return answer.value if name == "table" else [chunk.score for chunk in answer]
