"""What librdkafka hands out, as the worker gets it."""

from projections.lanes.direct_lane import UNREADABLE, arrived


def test_it_is_asked_once_for_headers_that_can_t_be_told():
    class Message:
        def headers(self):
            asked.append(self)
            raise SystemError("returned a result with an exception set")

        def value(self):
            return b"value"

        partition = offset = key = value

    asked = []
    assert arrived("topic", Message()).headers == UNREADABLE
    assert len(asked) == 1
