"""Which state store a URL means. Beside ``app``, the only place that knows adapters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from tamis_server.adapters.embedded.lmdb_changes import LmdbChanges
from tamis_server.adapters.embedded.lmdb_environment import Environment
from tamis_server.adapters.embedded.lmdb_items import LmdbItems
from tamis_server.adapters.embedded.lmdb_users import LmdbUsers
from tamis_server.bundles.ids import item_keys
from tamis_server.domain.activity import Decay
from tamis_server.domain.context import EventKind
from tamis_server.domain.ports import CatalogueStore, ItemActivity, UserStateStore
from tamis_server.domain.seen import SeenGroup, SeenPolicy
from tamis_server.domain.user_record import Keep
from tamis_server.settings import StateSettings

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Stores:
    """The mutable half of the system, behind its ports."""

    users: UserStateStore
    activity: ItemActivity
    catalogue: CatalogueStore
    close: Callable[[], Awaitable[None]]


def open_stores(settings: StateSettings) -> Stores:
    """Raises StateRejected."""
    scheme, _, rest = settings.url.partition("://")
    if scheme == "lmdb":
        return _open_lmdb(Path(rest), settings)
    return _open_redis(settings)


def seen_policy(settings: StateSettings) -> SeenPolicy:
    return SeenPolicy(
        [
            SeenGroup(
                name=group.name,
                kinds=frozenset(EventKind[kind.upper()] for kind in group.kinds),
                window_s=group.window_days * DAY,
                generations=group.generations,
                expected=group.expected,
                rate=group.rate,
                exact=group.exact,
            )
            for group in settings.seen
        ]
    )


def _keep(settings: StateSettings) -> Keep:
    return Keep(
        history=settings.max_history,
        user_s=settings.user_ttl_days * DAY,
        event_id_s=settings.event_id_window_s,
    )


def _open_lmdb(directory: Path, settings: StateSettings) -> Stores:
    environment = Environment(
        directory,
        fsync=settings.fsync,
        interval_s=settings.fsync_interval_s,
        map_bytes=settings.map_mb << 20,
    )
    items = LmdbItems(environment, Decay(settings.half_life_h * 3600))
    users = LmdbUsers(
        environment,
        items,
        keys_of=item_keys,
        policy=seen_policy(settings),
        keep=_keep(settings),
    )
    catalogue = LmdbChanges(environment, log_size=settings.catalogue_log)

    async def close() -> None:
        users.close()  # both wait for the commit that runs
        catalogue.close()
        environment.close()

    return Stores(users, items, catalogue, close)


def _open_redis(settings: StateSettings) -> Stores:
    # redis-py takes 50 ms to import, which a start without it need not
    from tamis_server.adapters.remote.redis_changes import RedisChanges  # noqa: PLC0415
    from tamis_server.adapters.remote.redis_connection import Connection  # noqa: PLC0415
    from tamis_server.adapters.remote.redis_users import RedisUsers  # noqa: PLC0415

    connection = Connection(
        settings.url,
        read_timeout_s=settings.timeout_s,
        write_timeout_s=settings.write_timeout_s,
        connections=settings.connections,
        ca_file=settings.ca_file,
    )
    users = RedisUsers(
        connection,
        namespace=settings.namespace,
        keys_of=item_keys,
        policy=seen_policy(settings),
        keep=_keep(settings),
        decay=Decay(settings.half_life_h * 3600),
    )
    catalogue = RedisChanges(
        connection, namespace=settings.namespace, log_size=settings.catalogue_log
    )
    return Stores(users, users, catalogue, connection.close)
