"""A tiny model that thinks in tags, and a server that runs it."""

import json

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from tests.conftest import tiny_tokenizer
from tests.engines.server.scripted import Handler, ScriptedServer, greedy


def save_thinking_model(folder, *, words=0):
    """Write a random model that draws the tag ``</think>`` every few dozen tokens.

    With ``words`` more its vocabulary and its layers are as large as vLLM needs them.
    """
    width = 128 if words else 32
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<think>", "</think>", *(f" w{i}" for i in range(words))])
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "assistant\n{% endif %}", "assistant\n<think>\n{% endif %}"
    )
    torch.manual_seed(10 if words else 5)  # ends about half of its reasoning
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=2 * width,
        num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, eos_token_id=0,
        bos_token_id=None,
        max_position_embeddings=2048,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    end = tokenizer.convert_tokens_to_ids("</think>")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(4.0)
        model.model.embed_tokens.weight *= 0.1  # else the last token alone decides
        model.lm_head.weight *= 4.0
        model.lm_head.weight[end] *= 5.0 if words else 1.5
    model.generation_config.eos_token_id = 0
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class ThinkingServer(ScriptedServer):
    """Attributes: ``sent``, bytes of the replies to all but checks, by kind of request.

    Faults: ``no ids`` gives none; ``no completions`` has no such endpoint; ``one more`` puts a
    token before a prompt of ids and counts it; ``another`` does, and doesn't; ``texts`` names
    tokens by their texts alone; ``splits`` takes the reasoning out of the content.
    """

    def __init__(self, folder, *faults, **settings):
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.drawn = []  # ids of prompts and replies
        self.sent = {"chat": 0, "completions": 0}
        super().__init__(*faults, always=self.measure, **settings)
        self.RequestHandlerClass = ThinkingHandler

    def measure(self, reply, body):
        if "random words" not in str(body.get("messages")):
            kind = "chat" if "messages" in body else "completions"
            self.sent[kind] += len(json.dumps(reply))
        return reply


class ThinkingHandler(Handler):
    def _refused(self, body):
        if "no completions" in self.server.faults and "prompt" in body:
            self._send(404, {"detail": "Not Found"})
            return True
        return super()._refused(body)

    @torch.inference_mode()
    def _reply(self, body, prompt, n):  # noqa: ARG002
        server, tokenizer = self.server, self.server.tokenizer
        chat = "messages" in body
        ids = body.get("prompt") if not chat else tokenizer.apply_chat_template(
            body["messages"], add_generation_prompt=True, return_dict=False
        )  # fmt: skip
        given = ids
        if not chat and server.faults & {"one more", "another"}:
            ids = [20, *ids]
            given = ids if "one more" in server.faults else given
        choices, count = [], 0
        for index in range(n):
            seed = 0 if greedy(body) else 1000 * body.get("seed", 0) + index
            drawn, rows = self._drawn(ids, body, torch.Generator().manual_seed(seed))
            server.drawn.append((ids, drawn))
            count += len(drawn)
            choices.append(self._choice(body, index, drawn, rows))
            if "no ids" not in server.faults and body.get("return_token_ids"):
                choices[-1]["token_ids"] = drawn
        usage = {"prompt_tokens": len(given), "completion_tokens": count}
        reply = {"model": body["model"], "choices": choices, "usage": usage}
        if "no ids" not in server.faults and body.get("return_token_ids"):
            reply["prompt_token_ids"] = ids
        return reply

    def _drawn(self, ids, body, generator):
        """Return the tokens of one sample and the log probabilities at each."""
        drawn, rows = [], []
        cap = body.get("max_completion_tokens") or body["max_tokens"]
        output = self.server.model(torch.tensor([ids]), use_cache=True)
        while True:
            rows.append(output.logits[0, -1].log_softmax(-1))
            if greedy(body):
                token = int(rows[-1].argmax())
            else:
                scaled = (rows[-1] / body["temperature"]).softmax(-1)
                token = int(torch.multinomial(scaled, 1, generator=generator))
            drawn.append(token)
            if token == 0 or len(drawn) == cap:
                return drawn, rows
            output = self.server.model(
                torch.tensor([[token]]), past_key_values=output.past_key_values, use_cache=True
            )

    def _choice(self, body, index, drawn, rows):
        tokenizer = self.server.tokenizer
        text = tokenizer.decode(drawn, skip_special_tokens=True)
        choice = {"index": index, "finish_reason": "stop" if drawn[-1] == 0 else "length"}
        if "messages" not in body:
            choice["text"] = text
        elif "splits" in self.server.faults and "</think>" in text:
            reasoning, _, text = text.partition("</think>")
            choice["message"] = {"content": text.strip(), "reasoning": reasoning.strip()}
        else:
            choice["message"] = {"content": text}
        if body.get("logprobs"):
            choice["logprobs"] = self._logprobs(body, drawn, rows)
        return choice

    def _logprobs(self, body, drawn, rows):
        def name(token):
            ids = body.get("return_tokens_as_token_ids") and "texts" not in self.server.faults
            return f"token_id:{token}" if ids else self.server.tokenizer.decode([token])

        chat = "messages" in body
        wanted = None if "texts" in self.server.faults else body.get("logprob_token_ids")
        most = body["top_logprobs"] if chat else body["logprobs"]
        tops = []
        for token, row in zip(drawn, rows, strict=True):
            best = row.topk(min(most, len(row))).indices.tolist() if wanted is None else wanted
            tops.append([(name(t), float(row[t])) for t in dict.fromkeys([token, *best])])
        if not chat:
            return {"tokens": [name(t) for t in drawn], "top_logprobs": [dict(t) for t in tops]}
        return {"content": [
            {"token": name(token), "logprob": float(row[token]), "bytes": [*name(token).encode()],
             "top_logprobs": [
                 {"token": t, "logprob": p, "bytes": [*t.encode()]} for t, p in top]}
            for token, row, top in zip(drawn, rows, tops, strict=True)
        ]}  # fmt: skip
