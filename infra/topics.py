"""Topics, users and rights on Kafka, made from the plan. Running it again is harmless."""

import time
from collections.abc import Callable, Collection, Iterable, Sequence

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from infra.errors import StartFailed
from infra.kafka import librdkafka
from infra.plan import Acl, Topic
from infra.settings import Settings

ITERATIONS = 4096
VISIBLE_SECONDS = 15.0
RESOURCES = {"topic": ResourceType.TOPIC, "group": ResourceType.GROUP, "cluster": ResourceType.BROKER}


class Admin:
    """What only the provisioner may do."""

    def __init__(self, settings: Settings) -> None:
        self._client = AdminClient(librdkafka(settings, log_level=0, **{"reconnect.backoff.max.ms": 500}))

    def ready(self) -> bool:
        """Whether the broker answers a request, not merely accepts a connection."""
        try:
            self._client.list_topics(timeout=2)
        except KafkaException:
            return False
        return True

    def provision(self, users: Sequence[Settings], acls: Sequence[Acl], topics: Sequence[Topic]) -> None:
        """These users have these rights and no others, and these topics stand as declared. Raises `StartFailed`."""
        try:
            self.users(users)
            self.acls(acls)
            self._withdraw({f"User:{user.principal}" for user in users}, acls)
            self.topics(topics)
        except KafkaException as error:
            raise StartFailed(f"Kafka can't be provisioned: {error.args[0].str()}") from None

    def users(self, users: Iterable[Settings]) -> None:
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, ITERATIONS)
        wanted = [UserScramCredentialUpsertion(user.principal, info, user.password.encode()) for user in users]
        for future in self._client.alter_user_scram_credentials(wanted).values() if wanted else ():
            future.result()

    def topics(self, topics: Sequence[Topic]) -> None:
        """Creates what is missing, and gives what is there its declared configuration."""
        known = self._client.list_topics(timeout=10).topics
        there = [topic for topic in topics if topic.name in known]
        for topic in there:
            if (partitions := len(known[topic.name].partitions)) != topic.partitions:
                raise StartFailed(
                    f"topic {topic.name} has {partitions} partitions and should have {topic.partitions}: "
                    "that would move keys between partitions, and is not done"
                )
        created = [
            NewTopic(topic.name, topic.partitions, 1, config=dict(topic.config))
            for topic in topics
            if topic.name not in known
        ]
        for future in self._client.create_topics(created).values() if created else ():
            settle(future.result)
        altered = [self._configuration(topic) for topic in there if topic.config]
        for future in self._client.incremental_alter_configs(altered).values() if altered else ():
            future.result()
        self._until(lambda: {topic.name for topic in topics} <= self._client.list_topics(timeout=5).topics.keys())

    def acls(self, acls: Sequence[Acl]) -> None:
        wanted = [binding for acl in acls for binding in bindings(acl)]
        for future in self._client.create_acls(wanted).values() if wanted else ():
            future.result()
        self._until(lambda: set(wanted) <= self._bindings())

    def _withdraw(self, principals: Collection[str], acls: Sequence[Acl]) -> None:
        """Takes from these principals whatever right they have beyond these."""
        wanted = {binding for acl in acls for binding in bindings(acl)}
        surplus = [held for held in self._bindings() - wanted if held.principal in principals]
        for future in self._client.delete_acls([exactly(held) for held in surplus]).values() if surplus else ():
            future.result()
        self._until(lambda: not self._bindings() & set(surplus))

    def _bindings(self) -> set[AclBinding]:
        return set(self._client.describe_acls(ANYTHING).result())

    def _configuration(self, topic: Topic) -> ConfigResource:
        set_to = AlterConfigOpType.SET
        entries = [ConfigEntry(key, value, incremental_operation=set_to) for key, value in topic.config.items()]
        return ConfigResource(ConfigResource.Type.TOPIC, topic.name, incremental_configs=entries)

    def _until(self, visible: Callable[[], bool]) -> None:
        deadline = time.monotonic() + VISIBLE_SECONDS
        while not visible():
            if time.monotonic() > deadline:
                raise StartFailed("Kafka took a change but does not show it")
            time.sleep(0.05)


ANYTHING = AclBindingFilter(
    ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
)


def bindings(acl: Acl) -> list[AclBinding]:
    prefixed = acl.name.endswith("*") and acl.name != "*"
    pattern = ResourcePatternType.PREFIXED if prefixed else ResourcePatternType.LITERAL
    name = acl.name.removesuffix("*") if prefixed else acl.name
    return [
        AclBinding(
            RESOURCES[acl.resource],
            name,
            pattern,
            f"User:{acl.principal}",
            "*",
            AclOperation[operation],
            AclPermissionType.ALLOW,
        )
        for operation in acl.operations
    ]


def exactly(held: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(
        held.restype,
        held.name,
        held.resource_pattern_type,
        held.principal,
        held.host,
        held.operation,
        held.permission_type,
    )


def settle(result: Callable[[], object]) -> None:
    """Somebody else made the topic meanwhile: that is as good."""
    try:
        result()
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise
