"""Rounds of vans."""

from fleet_routes.plan import plan_env, plan_rounds

__all__ = ["plan_env", "plan_rounds"]
