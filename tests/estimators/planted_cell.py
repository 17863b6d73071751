"""A cell whose model solves each question with a planted probability, and knows it, distorted."""

import math
import random
from collections import Counter
from io import StringIO
from pathlib import Path

import torch
from rich.console import Console

from benchmark.cell.cell import Cell
from benchmark.cell.stages import SAMPLED
from benchmark.config.schema import ROLES
from benchmark.engines import ChoiceProbabilities, Response
from benchmark.questions import load_splits
from benchmark.store.artifact import Store
from tests.config.test_conf import composed

WIDTH, LAYERS = 6, 2


class PlantedEngine:
    """Solves what it is asked with probability p(question); asked for p it says ``said(p)``.

    It is asked about the last question of the prompt. Where ``said`` returns None, its reply states
    no number. Some of its wrong responses are truncated. ``asked`` counts its replies by prompt.
    """

    def __init__(self, questions, said):
        self.identity = {"weights": "planted"}
        self.precisions = {}
        self.settings = {}
        self.solutions = {row["question"]: row["references"][0] for row in questions}
        self.said = said
        self.asked = Counter()
        self.prompts = []

    def p(self, question):
        """Return the planted probability, which falls with the question's length."""
        noise = random.Random(question).gauss(0, 0.7)
        return 1 / (1 + math.exp(0.12 * (len(question) - 24) + noise))

    def _last(self, prompt):
        return max(self.solutions, key=lambda q: (prompt.rfind(q), len(q)))

    def sample(self, requests, _decoding):
        for request in requests:
            question = self._last(request.prompt)
            for index, seed in zip(request.sample_indices, request.seeds, strict=True):
                self.asked[request.prompt] += 1
                right = random.Random(seed).random() < self.p(question)
                text = self.solutions[question] if right else "I pass"
                if "boxed" in request.prompt:
                    self.prompts.append(request.prompt)
                    said = self.said(self.p(question))
                    text = "hard to say" if said is None else rf"\boxed{{{said:.3f}}}"
                cut = not right and seed % 3 == 0
                reason, tokens = "length" if cut else "stop", len(request.prompt.split())
                yield Response(request.question_id, index, text, None, reason, tokens, 3, seed)

    def prompt_tokens(self, prompts):
        return {key: len(prompt.split()) for key, prompt in prompts.items()}

    def choice_probabilities(self, requests, _choices, _decoding):
        for request in requests:
            self.asked[request.prompt] += 1
            yes = self.said(self.p(self._last(request.prompt))) or 0.0
            tokens = len(request.prompt.split())
            yield request.question_id, ChoiceProbabilities({"Yes": yes, "No": 1 - yes}, tokens)

    def hidden_states(self, prompts):
        for key, prompt in prompts.items():
            p = self.p(self._last(prompt))
            generator = torch.Generator().manual_seed(len(prompt))
            states = torch.randn(LAYERS + 1, WIDTH, generator=generator)
            states[1, 0] = math.log(p / (1 - p))
            yield key, states

    def close(self):
        pass


def planted_cell(folder: Path, said=lambda p: p, *overrides: str) -> Cell:
    """Return a cell of 60 evaluation, 150 training and 60 validation questions."""
    config = composed(
        "dataset=basics", "dataset.limit=60", "dataset.train_limit=150", "grading=[exact]",
        "dataset.validation_limit=60", "sampling.k=12", "sampling.k_train=8", *overrides,
    )  # fmt: skip
    questions = load_splits(config.dataset, ROLES)
    engine = PlantedEngine([row for q in questions.values() for row in q.to_dicts()], said)
    console = Console(file=StringIO(), width=200)
    return Cell(config, questions, engine, Store(folder, console), console, SAMPLED)


def printed(cell: Cell) -> str:
    """Return what the cell's console shows."""
    return cell.console.file.getvalue()
