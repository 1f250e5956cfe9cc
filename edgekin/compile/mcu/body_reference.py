"""The fixed-point arithmetic of engines/mcu/body*.h in numpy, for many poses at once: the same bits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edgekin.compile.mcu.body import I64, LIGHT, STEPS, FixedBody, FixedView
from edgekin.compile.mcu.reference import I32, sine

FADED = 1 << 22  # EK_FADED
NEAR, WIDE = 1 << 29, 1 << 28


def _high(a: I64, b: I64) -> I64:
    return a * b >> 32


def _shift(v: I64, left: I64) -> I64:
    return np.where(left >= 0, v << np.maximum(left, 0), v >> np.minimum(np.maximum(-left, 0), 31))


def _share(v: I64, left: I64) -> I64:
    """v 2^left, within 0 and 2^30."""
    v = np.maximum(v, 0)
    large = (left > 0) & (v >> np.where(left < 30, 30 - np.maximum(left, 0), 0) != 0)
    return np.where(large, 1 << 30, _shift(v, np.where(large, 0, left)))


def _zeros(v: I64) -> I64:
    """Zeros in front of v in 32 bits, 0 < v < 2^32."""
    return 32 - np.frexp(v.astype(np.float64))[1].astype(np.int64)


def _reciprocal(z: I64) -> I64:
    y = 0xFFFFFFFF // (z >> 16)
    product = (z.astype(np.uint64) * y.astype(np.uint64) >> np.uint64(16)).astype(np.int64) & 0xFFFFFFFF
    miss = (-product + (1 << 31) & 0xFFFFFFFF) - (1 << 31)
    return (y << 14) + (y * miss >> 18)


def frames(body: FixedBody, view: FixedView, units: I32) -> list[tuple[I64, I64]]:
    """Return rotation (N, 3, 3) and shift (N, 3) of frame 0 and of every hinge's, as the view's camera sees them."""
    n = len(units)
    out = [(np.broadcast_to(view.base.turn, (n, 3, 3)), np.broadcast_to(view.base.shift, (n, 3)))]
    for hinge in body.hinges:
        turn, shift = out[hinge.parent]
        shift = (np.einsum("nrk,k->nr", turn, hinge.start.shift) >> 30) + shift
        turn = np.einsum("nrk,kc->nrc", turn, hinge.start.turn) >> 30
        q = units[:, hinge.joint].astype(np.int64)
        if hinge.slide:
            out.append((turn, shift + (turn[:, :, 2] * (q * hinge.slide >> 16)[:, None] >> 30)))
            continue
        angle = (q << 4 & 0xFFFFFFFF).astype(np.uint32)
        s, c = sine(angle)[:, None], sine(angle + np.uint32(1 << 30))[:, None]
        x, y = turn[:, :, 0], turn[:, :, 1]
        out.append((np.stack([c * x + s * y >> 30, c * y - s * x >> 30, turn[:, :, 2]], axis=2), shift))
    return out


class _Outlines:
    """One ellipsoid's outline at every pose; `seen` says where there is one."""

    def __init__(self, body: FixedBody, view: FixedView, i: int, turn: I64, shift: I64) -> None:
        s = body.shape[i]
        matrix = s[np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])]
        x = (np.einsum("nrk,k->nr", turn, body.centre[i]) >> 30) + shift
        side = x[:, :2] >> 2
        self.seen = (x[:, 2] > body.nearest) & (np.maximum(side, -side).max(axis=1) < x[:, 2])
        z = np.where(self.seen, x[:, 2], 1 << 20)
        zeros = _zeros(z)
        flat = _reciprocal(z << zeros)
        m = np.where(self.seen[:, None], _high(x[:, :2], flat[:, None]) << (zeros - 2)[:, None], 0)
        rz = turn[:, 2]
        p, q = ((turn[:, k] >> 2) - (m[:, k, None] * rz >> 30) for k in (0, 1))
        sp, sq, sz = (np.einsum("rk,nk->nr", matrix, v) >> 32 for v in (p, q, rz))
        square, scale = _high(flat, flat), body.scale[i] + 2 * zeros

        def dot(a: I64, b: I64) -> I64:
            return _high((a * b).sum(axis=1) >> 32, square)

        zz, aa, bb = _share(dot(rz, sz), scale), _share(dot(p, sp), scale + 4), _share(dot(q, sq), scale + 4)
        self.seen &= (zz < NEAR) & (aa < WIDE) & (bb < WIDE)
        ab, az, bz = (np.where(self.seen, _shift(dot(a, b), scale + by), 0)
                      for a, b, by in ((q, sp, 4), (rz, sp, 2), (rz, sq, 2)))
        zz, aa, bb = (np.where(self.seen, v, 0) for v in (zz, aa, bb))
        rest = (1 << 30) - zz
        ahead = _zeros(rest)
        inverse = _reciprocal(rest << ahead) >> (8 - ahead)
        px, py = az * inverse >> 24, bz * inverse >> 24
        aa, ab, bb = ((v + (k * w >> 30)) * inverse >> 24 for v, k, w in ((aa, az, px), (ab, az, py), (bb, bz, py)))
        xx, xy, yy = (_high(v, f) for v, f in zip((aa, ab, bb), view.products, strict=True))
        xx, yy = xx + body.low_pass, yy + body.low_pass
        self.u = _high(m[:, 0] - (px >> 2), view.lens[0]) + view.lens[2]
        self.v = _high(m[:, 1] - (py >> 2), view.lens[1]) + view.lens[3]
        more = _zeros(yy)
        high = _reciprocal(yy << more)
        self.slope = xy * high >> (46 - more)
        wide = np.maximum(xx - (xy * self.slope >> 16), body.low_pass >> 1)
        least, steps = np.minimum(wide, yy), 26 - body.shape_bits
        rise = np.where(body.rise[i] >> steps < least, body.rise[i], least << steps)
        self.d = rise * high >> (60 - body.shape_bits - more)
        more = _zeros(wide)
        self.a = rise * _reciprocal(wide << more) >> (60 - body.shape_bits - more)
        self.inner = FADED // 2 - 4 * rise


def _fades(middle: I64, fade: I64, a: I64, size: int) -> I64:
    """Fade (..., size) of the whole numbers of an axis, by differences from the middle (2^-16) outwards."""
    at = middle + 0x7FFF >> 16
    off = at * 65536 - middle
    grow = a * off >> 15
    start = fade + _high(a, off * off)
    k = np.arange(size) - at[..., None]
    start, a, grow = start[..., None], a[..., None], grow[..., None]
    right = start + k * (a + grow) + k * (k - 1) * a
    j = -1 - k
    left = start + a - grow + j * (3 * a - grow) + j * (j - 1) * a
    return np.asarray(np.where(k >= 0, right, left))


def _reached(o: _Outlines, height: int, width: int) -> tuple[I64, I64, I64]:
    """Return the poses and rows (R,) that an outline reaches, and the fades (R, W) of those rows."""
    rows = _fades(o.v, o.inner, o.d, height)
    y0 = o.v + 0x7FFF >> 16
    off = y0 * 65536 - o.v
    middle = (o.u + (o.slope * off >> 16))[:, None] + o.slope[:, None] * (np.arange(height) - y0[:, None])
    where, y = np.nonzero((rows < FADED) & o.seen[:, None])
    return where, y, _fades(middle[where, y], rows[where, y], o.a[where], width)


def _draw(light: NDArray[np.uint8], o: _Outlines, cover: NDArray[np.uint8]) -> None:
    """Take one ellipsoid's light from pictures (N, H, W)."""
    where, y, fades = _reached(o, *light.shape[1:])
    taken = cover[np.clip(fades >> 16, 0, STEPS - 1)].astype(np.int64)
    before = light[where, y].astype(np.int64)
    opaque = (fades < FADED // STEPS) & (int(cover[0]) == 255)
    after = np.where(opaque, 0, before - (before * taken + 128 >> 8))
    light[where, y] = np.where(fades < FADED, after, before)


def _moving(body: FixedBody, view: FixedView, units: I32) -> Iterator[tuple[int, _Outlines]]:
    """Yield the ellipsoids that joints move, and their outlines at every pose."""
    poses = frames(body, view, units)
    for i in range(body.n_still, len(body.centre)):
        yield i, _Outlines(body, view, i, *poses[body.frame[i]])


def drawn(body: FixedBody, units: I32) -> tuple[I64, I64, I64]:
    """Return how many rows, pixels inside and pixels of edges (N,) are drawn of what moves, in all views."""
    rows, inside, edges = np.zeros((3, len(units)), np.int64)
    for view in body.views:
        for _, o in _moving(body, view, units):
            where, _, fades = _reached(o, body.height, body.width)
            within = (fades < FADED // STEPS).sum(axis=1)
            np.add.at(rows, where, 1)
            np.add.at(inside, where, within)
            np.add.at(edges, where, (fades < FADED).sum(axis=1) - within)
    return rows, inside, edges


def picture(light: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Return what pictures show that let so much light through: from -127 (no robot) to 127."""
    return (light ^ 0x7F).view(np.int8)


def still_light(body: FixedBody, view: int) -> NDArray[np.uint8]:
    """Return a view's light (H, W) where only the parts are drawn that no joint moves, over its background."""
    light = np.full((1, body.height, body.width), LIGHT, np.uint8)
    if body.background is not None:
        light[0] = body.background[view]
    base = body.views[view].base
    for i in range(body.n_still):
        _draw(light, _Outlines(body, body.views[view], i, base.turn[None], base.shift[None]),
              body.covers[body.cover[i]])
    return np.asarray(light[0])


def predict(body: FixedBody, units: I32) -> NDArray[np.int8]:
    """Return the pictures (N, V, H, W), from -127 (no robot) to 127, at (N, J) joint angles in 2^-28 of a turn."""
    out = np.empty((len(units), len(body.views), body.height, body.width), dtype=np.int8)
    for v, view in enumerate(body.views):
        light = np.repeat(still_light(body, v)[None], len(units), axis=0)
        for i, o in _moving(body, view, units):
            _draw(light, o, body.covers[body.cover[i]])
        out[:, v] = picture(light)
    return out


def log_odds(empty: float) -> NDArray[np.float64]:
    """Return the log-odds that a prediction means, by its value as an unsigned byte (256,)."""
    p = np.clip((np.arange(256).astype(np.uint8).view(np.int8) + 127.0) / LIGHT, empty, 1 - empty)
    return np.log(p / (1 - p))
