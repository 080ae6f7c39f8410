import numpy as np
import pytest

from tamis_server.domain.candidates import Candidates
from tamis_server.domain.context import Deadline, RequestContext
from tamis_server.domain.errors import ContractViolation


def batch() -> Candidates:
    rows = np.arange(3, dtype=np.int32)
    columns = {"cross": np.zeros((3, 4), np.float32)}
    counts = {"popular": 3}
    return Candidates(rows, np.ones(3, np.float32), np.ones(3, np.uint32), columns, counts)


def test_a_request_that_knows_more_is_another_one() -> None:
    asked = RequestContext("r", "u", 20, Deadline(1.0), 2.0)
    query = np.ones(2, np.float32)
    knowing = asked.knowing(query=query)
    assert knowing.query is query
    assert (knowing.request_id, knowing.limit, knowing.now) == ("r", 20, 2.0)
    assert asked.query is None


def test_a_field_that_there_is_not_is_refused() -> None:
    with pytest.raises(TypeError, match="RequestContext has no field qeury"):
        RequestContext("r", "u", 20, Deadline(1.0), 2.0).knowing(qeury=None)


def test_a_batch_stays_one_of_equal_columns() -> None:
    with pytest.raises(ContractViolation, match="ragged batch: 3 rows, scores"):
        batch().having(scores=np.ones(2, np.float32))
    with pytest.raises(ContractViolation, match="ragged batch: 3 rows, cross"):
        batch().having(columns={"cross": np.zeros((2, 4), np.float32)})


def test_a_part_of_a_batch_has_every_column_and_has_counted_nothing() -> None:
    taken = batch().take(np.array([2, 0], np.int32))
    assert taken.rows.tolist() == [2, 0]
    assert batch().first(2).rows.tolist() == [0, 1]
    for part in taken, batch().first(2):
        assert part.columns["cross"].shape == (2, 4)
        assert part.scores.shape == part.sources.shape == (2,)
        assert not part.counts
