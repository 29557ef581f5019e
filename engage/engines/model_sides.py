"""Weights, adapters and chat templates of both model sides, for engines that run in this process."""

from engage.engines.base import Prompt, Side
from engage.errors import EngineError
from engage.models import ModelsConfig, adapter_folder, check_adapter, open_template, resolve_model


class ModelSides:
    """Both sides, resolved. ModelError if weights are missing, an adapter belongs to other weights, or replies have no end marker."""

    def __init__(self, models: ModelsConfig) -> None:
        self.refs = {
            Side.POLICY: resolve_model(models.policy_model),
            Side.SIMULATOR: resolve_model(models.simulator_model),
        }
        self._own = {
            Side.POLICY: adapter_folder(models.policy_adapter) or None,
            Side.SIMULATOR: adapter_folder(models.simulator_adapter) or None,
        }
        for side, adapter in self._own.items():
            if adapter is not None:
                check_adapter(adapter, self.refs[side])
        self.templates = {side: open_template(ref) for side, ref in self.refs.items()}

    def adapter(self, prompt: Prompt) -> str | None:
        """The folder of the adapter for this prompt; None: the base weights without an adapter."""
        return self._own[prompt.side] if prompt.adapter is None else prompt.adapter or None

    def tokenise(self, prompt: Prompt) -> tuple[int, ...]:
        """Tokens of the chat up to the model's reply, by its own template; EngineError if the template refuses the chat."""
        chat = [{"role": message.role, "content": message.content} for message in prompt.messages]
        try:
            return tuple(self.templates[prompt.side].prompt_ids(chat))
        except Exception as error:  # templates raise errors of any kind
            raise EngineError(f"the model's chat template refuses the prompt: {error}", prompt.key) from error

    def tokenise_choice(self, side: Side, choice: str) -> tuple[int, ...]:
        """Tokens of a fixed continuation of a prompt."""
        return tuple(self.templates[side].choice_ids(choice))
