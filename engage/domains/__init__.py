"""Kinds of dialogue. Two are shipped. A user's own is named `package.module:OBJECT`, and its module must be allowed."""

from engage.domains.base import Domain, UserCondition, reward_of
from engage.domains.loading import allow_modules, load_domain
from engage.survey import Survey

__all__ = ["Domain", "Survey", "UserCondition", "allow_modules", "load_domain", "reward_of"]
