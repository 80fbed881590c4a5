"""Operations are gathered into nodes: a head that makes a number, and what happens to it one by one.

A step joins the chain of the operation whose result it changes if nothing has joined there yet; otherwise
it begins a node of its own that reads the stored value. Signs and bytes are written in passing, wherever in
a chain their number stands.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bitlens.engine.freeze.flow import SINKS, STEPS, Op, ancestors_first, users_of
from bitlens.engine.graph import TILED

_INPUTS: frozenset[str] = frozenset(("input", "image"))


@dataclass(eq=False, kw_only=True)
class Chain:
    """One node with steps.

    Attributes:
        head: the operation that makes the number, or whose stored value is read.
        reads_head: whether the head is another node's value.
        steps: changes of the number, in order.
        sinks: what is written where the number is that of an operation.
    """

    head: Op
    reads_head: bool
    steps: list[Op] = field(default_factory=list)
    sinks: dict[Op, list[Op]] = field(default_factory=dict)

    @property
    def tail(self) -> Op:
        """The operation whose number stands at the end."""
        return self.steps[-1] if self.steps else self.head

    @property
    def places(self) -> list[Op]:
        """The operations whose numbers stand in it, one after the other."""
        return [self.head, *self.steps]

    @property
    def reads(self) -> list[Op]:
        """Values it needs."""
        first = [self.head] if self.reads_head else list(self.head.inputs)
        return first + [other for step in self.steps for other in step.inputs[1:]]


@dataclass(eq=False)
class Chains:
    """Nodes of a net, and which values are stored as floats."""

    units: list[Chain | Op] = field(default_factory=list)
    stored: set[Op] = field(default_factory=set)
    home: dict[Op, Chain] = field(default_factory=dict)
    readers: dict[Op, list[Chain]] = field(default_factory=dict)

    def unit_of(self, value: Op) -> Chain | Op | None:
        """What makes a value; None for the input."""
        if value.kind in _INPUTS:
            return None
        return self.home.get(value, value)

    def materialize(self, value: Op) -> None:
        """Have a float value written to memory."""
        if value in self.home and value.kind not in SINKS:
            self.stored.add(value)

    def depends(self, value: Op, chain: Chain) -> bool:
        """Whether `value` cannot be made before `chain` has run."""
        seen: set[Chain | Op] = set()
        stack = [self.unit_of(value)]
        while stack:
            unit = stack.pop()
            if unit is chain:
                return True
            if unit is not None and unit not in seen:
                seen.add(unit)
                reads = unit.reads if isinstance(unit, Chain) else unit.inputs
                stack += [self.unit_of(read) for read in reads]
        return False

    def begin(self, head: Op, *, reads_head: bool) -> Chain:
        """A new node."""
        chain = Chain(head=head, reads_head=reads_head)
        self.units.append(chain)
        if reads_head:
            self.materialize(head)
            self.readers.setdefault(head, []).append(chain)
        else:
            self.home[head] = chain
        return chain

    def continued(self, value: Op) -> Chain | None:
        """The chain that ends with `value` and can go on."""
        chains = [self.home[value]] if value in self.home else self.readers.get(value, [])
        return next((chain for chain in chains if chain.tail is value), None)

    def at(self, value: Op) -> Chain:
        """A chain in which `value` is the running number at some place."""
        if value in self.home:
            return self.home[value]
        readers = self.readers.get(value)
        return readers[0] if readers else self.begin(value, reads_head=True)


def gather(answer: Op) -> Chains:
    """Gather all operations that `answer` needs."""
    order = ancestors_first([answer])
    users = users_of(order)
    chains = Chains()
    for op in order:
        if op.kind in SINKS:
            chain = chains.at(op.inputs[0])
            chain.sinks.setdefault(op.inputs[0], []).append(op)
            chains.home[op] = chain
        elif op.kind in STEPS:
            _add_step(chains, op, users)
        elif op.kind not in _INPUTS:
            for needed in op.inputs:
                chains.materialize(needed)
            if op.kind in TILED:
                chains.begin(op, reads_head=False)
            else:
                chains.units.append(op)
    chains.materialize(answer)
    chains.units = _in_order(chains)
    return chains


def _add_step(chains: Chains, op: Op, users: dict[Op, list[Op]]) -> None:
    operands = list(op.inputs)
    choices = [(operands[0], operands[1:])]
    if len(operands) == 2 and operands[0].shape == operands[1].shape:
        choices.append((operands[1], operands[:1]))
    found: list[tuple[int, Chain, Op, list[Op]]] = []
    for running, others in choices:
        chain = chains.continued(running)
        if chain is not None and not any(chains.depends(other, chain) for other in others):
            # Best is a number that nobody else reads, then the dearest head.
            rank = 2 * (len(users[running]) == 1) + (chain.head.kind == "binary_conv")
            found.append((rank, chain, running, others))
    if found:
        _, chain, running, others = max(found, key=lambda choice: choice[0])
    else:
        running, others = choices[0]
        chain = chains.begin(running, reads_head=True)
    op.inputs = (running, *others)
    for other in others:
        chains.materialize(other)
    chain.steps.append(op)
    chains.home[op] = chain


def _in_order(chains: Chains) -> list[Chain | Op]:
    """Every node behind the nodes whose values it reads, otherwise as they came."""
    order: list[Chain | Op] = []
    done: set[Chain | Op] = set()
    for first in chains.units:
        stack: list[tuple[Chain | Op, bool]] = [(first, False)]
        while stack:
            unit, ready = stack.pop()
            if ready:
                order.append(unit)
            elif unit not in done:
                done.add(unit)
                stack.append((unit, True))
                reads = unit.reads if isinstance(unit, Chain) else unit.inputs
                made_by = [chains.unit_of(read) for read in reads]
                stack.extend((u, False) for u in made_by if u is not None and u not in done)
    return order
