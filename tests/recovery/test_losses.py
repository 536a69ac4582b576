"""The losses against definitions written out in double precision."""

import math

import pytest
import torch

from recovery import losses


def numbers(n=5, v=7, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, v, generator=generator, dtype=torch.float64).mul(2).to(dtype) for _ in range(2)]


def written_out(name, student, teacher, temperature):
    """The divergence of one token, sum by sum."""
    q, p = ([math.exp(x / temperature) for x in row.tolist()] for row in (student, teacher))
    q, p = [x / sum(q) for x in q], [x / sum(p) for x in p]
    a, b = (p, q) if name == "forward_kl" else (q, p)
    return temperature**2 * sum(x * math.log(x / y) for x, y in zip(a, b))


@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl"])
@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.5])
def test_divergences_are_what_eq_7_says(name, temperature):
    """Forward is KL(teacher ‖ student), reverse KL(student ‖ teacher), times T²; they are not each other."""
    student, teacher = numbers()
    found = getattr(losses, name)(student, teacher, temperature)
    wanted = [written_out(name, s, t, temperature) for s, t in zip(student, teacher)]
    assert found.tolist() == pytest.approx(wanted, rel=1e-12)
    other = "reverse_kl" if name == "forward_kl" else "forward_kl"
    assert (found - getattr(losses, other)(student, teacher, temperature)).abs().max() > 0.1
    assert torch.equal(found, getattr(losses, other)(teacher, student, temperature))


def test_forward_covers_and_reverse_concentrates():
    """A student on one of the teacher's two words is punished by forward KL, one that spreads out by reverse KL."""
    teacher = torch.tensor([[5.0, 5.0, -5.0, -5.0]], dtype=torch.float64)
    narrow, broad = torch.tensor([[9.0, -9.0, -9.0, -9.0]]).double(), torch.zeros(1, 4).double()
    assert losses.forward_kl(narrow, teacher, 1.0) > losses.forward_kl(broad, teacher, 1.0)
    assert losses.reverse_kl(narrow, teacher, 1.0) < losses.reverse_kl(broad, teacher, 1.0)


def test_distillation_of_an_equal_student_is_nothing():
    """KL and L2 are 0, and so are their gradients, where the student is the teacher."""
    student, _ = numbers()
    for loss in (lambda s: losses.forward_kl(s, student, 2.0), lambda s: losses.reverse_kl(s, student, 2.0),
                 lambda s: losses.hidden_l2(s, student), lambda s: losses.hidden_mse(s, student)):  # fmt: skip
        own = student.clone().requires_grad_()
        value = loss(own).sum()
        value.backward()
        assert abs(value.item()) < 1e-12 and own.grad.abs().max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_are_those_worked_out_by_hand(dtype):
    """Of each loss, from 32 and 16 bits, against its derivative written out in double precision."""
    labels = torch.tensor([0, 3, 6, 2, 2])
    student, teacher = numbers(dtype=dtype)
    s, t, temperature = student.double(), teacher.double(), 2.0
    q, p = torch.softmax(s / temperature, -1), torch.softmax(t / temperature, -1)
    log_ratio = torch.log(q / p)
    by_hand = {
        "cross_entropy": torch.softmax(s, -1) - torch.nn.functional.one_hot(labels, 7),
        "forward_kl": temperature * (q - p),
        "reverse_kl": temperature * q * (log_ratio - (q * log_ratio).sum(-1, keepdim=True)),
        "hidden_l2": 2 * (s - t) / t.square().sum(-1, keepdim=True),
        "hidden_mse": 2 * (s - t) / 7,
    }
    for name, wanted in by_hand.items():
        own = student.clone().requires_grad_()
        second = {"cross_entropy": (labels,), "forward_kl": (teacher, 2.0), "reverse_kl": (teacher, 2.0)}
        getattr(losses, name)(own, *second.get(name, (teacher,))).sum().backward()
        tolerance = 1e-6 if dtype == torch.float32 else 5e-3  # a bf16 leaf's gradient is bf16
        assert (own.grad.double() - wanted).abs().max() <= tolerance * wanted.abs().max(), name


def test_autograd_agrees_with_differences():
    """gradcheck in double precision, over all losses at once."""
    student, teacher = numbers(3, 4)
    labels = torch.tensor([0, 3, 1])

    def everything(own):
        return torch.stack([
            losses.cross_entropy(own, labels), losses.forward_kl(own, teacher, 1.5), losses.hidden_mse(own, teacher),
            losses.reverse_kl(own, teacher, 1.5), losses.hidden_l2(own, teacher),
        ])  # fmt: skip

    assert torch.autograd.gradcheck(everything, student.requires_grad_())


def test_hidden_l2_knows_no_scale():
    """Eq. 8 is relative to the teacher's norm, token by token; as published it is not."""
    student, teacher = numbers()
    scale = torch.tensor([1.0, 10.0, 100.0, 1e3, 1e4]).double()[:, None]
    assert torch.allclose(losses.hidden_l2(student * scale, teacher * scale), losses.hidden_l2(student, teacher))
    assert losses.hidden_l2(torch.zeros_like(teacher), teacher).tolist() == pytest.approx([1.0] * 5)
    assert losses.hidden_mse(student * scale, teacher * scale)[-1] > 1e7 * losses.hidden_mse(student, teacher)[-1]


def test_the_total_is_the_weighted_sum():
    """Eq. 9, with coefficients of one's own choice."""
    found = losses.weighted({"sft": torch.tensor(2.0), "l2": torch.tensor(3.0)}, {"sft": 0.5, "kl": 9.0, "l2": 2.0})
    assert found.item() == 7.0
