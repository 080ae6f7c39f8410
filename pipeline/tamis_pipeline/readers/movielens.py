"""MovieLens (Harper, Konstan, TiiS 2015), in the formats of its releases.

Stars become events: 4 and more a like, 3 and 3.5 a view, less a dislike.
"""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from tamis_pipeline.dataset import DatasetRejected, Tables, require
from tamis_pipeline.readers.columns import NUMBER, TEXT, WHOLE, converted
from tamis_pipeline.readers.files import read_csv, read_lines, read_separated

_MOVIES = {"movieId": WHOLE, "title": TEXT, "genres": TEXT}
# the year most of the million ratings were given in: where times are lost, events start here
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC).timestamp()


def latest(directory: Path) -> Tables:
    """The csv files of latest-small and its like, with posters/<movieId>.jpg where there are any.

    Tags are left out: many were given after the ratings that they would help to predict.
    Raises DatasetRejected.
    """
    movies = read_csv(directory / "movies.csv", _MOVIES)
    ratings = read_csv(
        directory / "ratings.csv",
        {"userId": WHOLE, "movieId": WHOLE, "rating": NUMBER, "timestamp": NUMBER},
    )
    posters = {path.stem for path in (directory / "posters").glob("*.jpg")}
    movie_id = pl.col("movieId").cast(pl.String)
    items = _movies(movies).with_columns(
        image=pl.when(pl.col("item_id").is_in(sorted(posters))).then(
            "posters/" + pl.col("item_id") + ".jpg"
        )
    )
    events = ratings.select(
        user_id=pl.col("userId").cast(pl.String),
        item_id=movie_id,
        timestamp=pl.col("timestamp"),
        event_type=_event_type(pl.col("rating")),
    )
    return Tables(items, events)


def hundred_thousand(directory: Path) -> Tables:
    """The u.* files of 100k. Some copies hold ratings of a user 0, who is not in u.user: left out
    and counted. Raises DatasetRejected."""
    names = [line.split("|")[0] for line in read_lines(directory / "u.genre") if line]
    described = dict.fromkeys(("title", "released", "video", "url"), TEXT)
    columns = {"movieId": WHOLE, **described, **dict.fromkeys(names, WHOLE)}
    movies = read_separated(directory / "u.item", "|", columns)
    flagged = [pl.when(pl.col(name) == 1).then(pl.lit(name)) for name in names]
    genres = pl.concat_list(flagged).list.drop_nulls().list.join("|")
    items = _movies(movies.select("movieId", "title", genres=genres))
    users = read_separated(
        directory / "u.user",
        "|",
        {"user_id": WHOLE, "age": NUMBER, "gender": TEXT, "occupation": TEXT, "zip": TEXT},
    )
    ratings = read_separated(
        directory / "u.data",
        "\t",
        {"user_id": WHOLE, "item_id": WHOLE, "stars": NUMBER, "timestamp": NUMBER},
    )
    known = ratings.filter(pl.col("user_id").is_in(users["user_id"].to_list()))
    events = known.select(
        pl.col("user_id", "item_id").cast(pl.String),
        "timestamp",
        event_type=_event_type(pl.col("stars")),
    )
    lost = {"interactions of a user who is not in u.user": len(ratings) - len(known)}
    return Tables(items, events, _profiles(users), problems=lost)


def million_ncf(directory: Path) -> Tables:
    """The 1M release as NCF (He et al., WWW 2017) published its test part and negatives.

    Ratings and times are lost: every pair is a view, a second apart in the order of the file, which
    is by user. Raises DatasetRejected.
    """
    movies = read_separated(directory / "movies.dat", "::", _MOVIES)
    users = read_separated(
        directory / "users.dat",
        "::",
        {"user_id": WHOLE, "gender": TEXT, "age": NUMBER, "occupation": TEXT, "zip": TEXT},
    )
    held_out = _ncf_test(directory)
    path = directory / "ratings.parquet"
    try:
        pairs = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DatasetRejected(f"{path}: {str(error).splitlines()[0]}") from None
    require(pairs, path.name, ("userID", "movieID"))
    texts = pairs.select(pl.col("userID", "movieID").cast(pl.String))
    pairs = converted(texts, path, {"userID": WHOLE, "movieID": WHOLE})
    events = pairs.select(
        user_id=pl.col("userID").cast(pl.String), item_id=pl.col("movieID").cast(pl.String)
    )
    moments = _EPOCH + pl.int_range(pl.len()).cast(pl.Float64)
    events = events.select("user_id", "item_id", timestamp=moments, event_type=pl.lit("view"))
    return Tables(_movies(movies), events, _profiles(users), held_out)


def _ncf_test(directory: Path) -> pl.DataFrame:
    """user_id, item_id, negatives. The files number users and items from 0; the map tells movies.

    Raises DatasetRejected.
    """
    columns_of_map = {"ncf_item": TEXT, "movie_id": TEXT}
    named = read_separated(directory / "ncf_item_map.tsv", "\t", columns_of_map)
    movie_of = dict(named.iter_rows())
    path = directory / "ml-1m.test.negative.gz"
    try:
        with gzip.open(path, "rt", encoding="ascii") as file:
            lines = [line.rstrip("\n").split("\t") for line in file]
    except (OSError, EOFError) as error:
        raise DatasetRejected(f"{path}: {error}") from None
    found = []
    for number, (pair, *negatives) in enumerate(lines, start=1):
        user, _, item = pair.strip("()").partition(",")
        try:
            movies = [movie_of[name] for name in (item, *negatives)]
            found.append((str(int(user) + 1), movies[0], movies[1:]))
        except (KeyError, ValueError) as error:
            raise DatasetRejected(f"{path}, line {number}: not known: {error}") from None
    columns = zip(("user_id", "item_id", "negatives"), zip(*found, strict=True), strict=True)
    return pl.DataFrame(dict(columns))


def _movies(movies: pl.DataFrame) -> pl.DataFrame:
    """From movieId, title with its year, and genres as a|b."""
    year = pl.col("title").str.extract(r"\((\d{4})\)\s*$").cast(pl.Int32)
    genres = (
        pl.col("genres")
        .str.split("|")
        .list.filter(~pl.element().is_in(["(no genres listed)", "unknown", ""]))
    )
    return movies.select(
        item_id=pl.col("movieId").cast(pl.String),
        title=pl.col("title").str.strip_chars(),
        text=genres.list.join(", "),
        created_at=pl.date(year, 1, 1).cast(pl.Datetime("us")).dt.epoch("s").cast(pl.Float64),
        genre=genres.list.first(),
        decade=(year // 10 * 10).cast(pl.String) + "s",
        genres=genres,
        year=year.cast(pl.Float64),
    )


def _profiles(users: pl.DataFrame) -> pl.DataFrame:
    return users.select(
        pl.col("user_id").cast(pl.String),
        "age",
        "gender",
        "occupation",
        region=pl.col("zip").str.head(1),
    )


def _event_type(stars: pl.Expr) -> pl.Expr:
    return (
        pl.when(stars >= 4)
        .then(pl.lit("like"))
        .when(stars >= 3)
        .then(pl.lit("view"))
        .otherwise(pl.lit("dislike"))
    )
