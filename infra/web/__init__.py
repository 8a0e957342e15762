"""HTTP plumbing that every service shares."""

from infra.web.acceptor import Bounds
from infra.web.app import Application, application
from infra.web.problems import BROKEN, Problem, invalid
from infra.web.server import run, running, serve

__all__ = ["BROKEN", "Application", "Bounds", "Problem", "application", "invalid", "run", "running", "serve"]
