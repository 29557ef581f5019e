"""Training adapters: pairs and chats, SFT, DPO, and the folder of a training run."""

from engage.training.candidate import Candidate, latest_candidate, name_candidate
from engage.training.dpo import build_trainer, data_hash, drawn_pairs, fitting_rows, train_dpo, trained_on
from engage.training.human_pairs import HumanConfig, HumanPairs, pair_licences, read_human, reply_places
from engage.training.measures import LEAST_SCENARIOS, MEASURED_PAIRS, before, set_aside
from engage.training.pair_card import pair_card
from engage.training.pair_export import FORMATS, gather_pairs, write_export
from engage.training.pair_set import PairSet, save_pair_set
from engage.training.pairs import (
    HumanReply,
    PreferencePair,
    SearchPairs,
    human_count,
    human_pairs,
    load_pairs,
    mix,
    pair_set_hash,
    read_pairs,
    read_search_pairs,
    save_pairs,
)
from engage.training.processes import OnStep
from engage.training.run_folder import RunFolder, TrainResult
from engage.training.sft import IGNORED, tokenise_chat, train_sft
from engage.training.simulator_chats import Role, policy_replies, simulator_chat, training_chats
from engage.training.starting import chat_tokenizer, check_trainable, start_model
from engage.training.trainer import (
    AlignConfig,
    DpoSettings,
    SftSettings,
    check_training,
    on_one_device,
    quiet,
    run_trainer,
    trainer_arguments,
)

__all__ = [
    "FORMATS",
    "IGNORED",
    "LEAST_SCENARIOS",
    "MEASURED_PAIRS",
    "AlignConfig",
    "Candidate",
    "DpoSettings",
    "HumanConfig",
    "HumanPairs",
    "HumanReply",
    "OnStep",
    "PairSet",
    "PreferencePair",
    "Role",
    "RunFolder",
    "SearchPairs",
    "SftSettings",
    "TrainResult",
    "before",
    "build_trainer",
    "chat_tokenizer",
    "check_trainable",
    "check_training",
    "data_hash",
    "drawn_pairs",
    "fitting_rows",
    "gather_pairs",
    "human_count",
    "human_pairs",
    "latest_candidate",
    "load_pairs",
    "mix",
    "name_candidate",
    "on_one_device",
    "pair_card",
    "pair_licences",
    "pair_set_hash",
    "policy_replies",
    "quiet",
    "read_human",
    "read_pairs",
    "read_search_pairs",
    "reply_places",
    "run_trainer",
    "save_pair_set",
    "save_pairs",
    "set_aside",
    "simulator_chat",
    "start_model",
    "tokenise_chat",
    "train_dpo",
    "train_sft",
    "trained_on",
    "trainer_arguments",
    "training_chats",
    "write_export",
]
