"""
An application of which nothing is mail yet: a board with topics, in which authors write posts.

It is in memory, so that all that would be in the way of L{boardstore<docs.examples.boardstore>} is
gone; an application has tables, and a transaction where something changes here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import time

from twisted.logger import Logger


@dataclass(frozen=True)
class Post:
    """
    A post of a topic; it never changes.

    @ivar change: by which it was made.
    """

    topic: Topic
    number: int
    author: str
    posted: int
    text: str
    change: int


@dataclass(eq=False)
class Topic:
    """
    A topic.

    @ivar made: the change by which it was made.
    @ivar following: the next post's number; numbers never come back.
    @ivar gone: of each post that a moderator removed, the change and its number.
    """

    board: Board
    number: int
    name: str
    made: int
    following: int = 1
    posts: dict[int, Post] = field(default_factory=dict)
    gone: list[tuple[int, int]] = field(default_factory=list)


class Board:
    """
    Topics by name. Every change takes the next number.
    """

    log = Logger()

    def __init__(self, domain: str, now: Callable[[], float] = time) -> None:
        """
        @param domain: of the authors' addresses.
        @param now: seconds since 1970.
        """
        self.domain = domain
        self.topics: dict[str, Topic] = {}
        self.changes = 0
        self._now = now
        self._watchers: dict[object, Callable[[Topic | None], None]] = {}

    def nextChange(self) -> int:
        """Take the next number."""
        self.changes += 1
        return self.changes

    def makeTopic(self, name: str) -> Topic:
        """Open a topic."""
        topic = self.topics[name] = Topic(self, len(self.topics) + 1, name, self.nextChange())
        self.tell(None)
        return topic

    def post(self, topic: Topic, author: str, text: str) -> Post:
        """Write a post."""
        post = Post(topic, topic.following, author, int(self._now()), text, self.nextChange())
        topic.posts[post.number] = post
        topic.following += 1
        self.tell(topic)
        return post

    def remove(self, topic: Topic, posts: Sequence[Post]) -> None:
        """A moderator removes posts: all in one change."""
        change = self.nextChange()
        for post in posts:
            del topic.posts[post.number]
            topic.gone.append((change, post.number))
        self.tell(topic)

    def watch(self, changed: Callable[[Topic | None], None]) -> Callable[[], None]:
        """
        Be called with a topic after it changed, with C{None} after a change of the list of topics.

        @return: call it to stop.
        """
        token = object()
        self._watchers[token] = changed

        def stop() -> None:
            self._watchers.pop(token, None)

        return stop

    def tell(self, topic: Topic | None) -> None:
        """Something changed."""
        for token, changed in list(self._watchers.items()):
            if token in self._watchers:
                with self.log.failuresHandled("a watcher failed"):
                    changed(topic)
