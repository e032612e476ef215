"""A small world to begin with: one project with a staging and a production environment, a service, and templates of databases."""

from typing import Any

from sandbox.railway.clock import Clock
from sandbox.railway.world import Scope, World

PROJECT, OTHER_PROJECT = "shop", "foreign"
STAGING, PRODUCTION, FOREIGN = "shop-staging", "shop-production", "foreign-production"
WEB, IMAGED, FOREIGN_WEB = "service-web", "service-cache", "service-foreign"
WORKSPACE = "ws-1"
STAGING_TOKEN = "rw-staging-7f3d5c1a9b2e"
PRODUCTION_TOKEN = "rw-production-1c9e8a7b6d5f"
WORKSPACE_TOKEN = "rw-workspace-4b6a2d8c0e1f"
IMAGE = "ghcr.io/acme/cache:1.4"


def world(clock: Clock) -> World:
    made = World(clock)
    made.add_project(PROJECT, workspace=WORKSPACE, environments=(STAGING, PRODUCTION))
    made.add_project(OTHER_PROJECT, workspace="ws-2", environments=(FOREIGN,))
    made.add_service(WEB, project=PROJECT, name="web")
    made.add_service(IMAGED, project=PROJECT, name="cache", image=IMAGE)
    made.add_service(FOREIGN_WEB, project=OTHER_PROJECT, name="theirs")
    made.tokens = {
        STAGING_TOKEN: Scope(WORKSPACE, PROJECT, STAGING),
        PRODUCTION_TOKEN: Scope(WORKSPACE, PROJECT, PRODUCTION),
        WORKSPACE_TOKEN: Scope(WORKSPACE),
    }
    made.templates = {code: template(code) for code in ("postgres", "mysql", "redis", "mongo")}
    return made


def template(code: str) -> dict[str, Any]:
    """Shaped like Railway's own, with keys that no client knows, at every level."""
    return {
        "$schema": "template",
        "services": {
            f"key-{code}": {
                "name": code.capitalize(),
                "icon": f"{code}.svg",
                "source": {"image": f"ghcr.io/railwayapp-templates/{code}:latest", "autoUpdates": {"type": "patch"}},
                "variables": {
                    "DB_USER": {"defaultValue": "admin", "isSealed": False},
                    "DB_PASSWORD": {"defaultValue": "${{secret(32)}}", "description": "made by Railway"},
                    "EXTRA": {"isOptional": True},
                },
                "volumeMounts": {"data": {"mountPath": "/data", "sizeMB": 5000}},
                "futureFeature": {"kept": True},
            }
        },
        "buckets": {},
    }
