"""Made-up rows of the paper's benchmarks, in the fields that lmms-eval reads, and what a stand-in answers to them.

lmms-eval's own tasks run on them without the hub: they show that answers reach each benchmark's own scoring, and what it
makes of them, not what a model can do.
"""

from datasets import Dataset, DatasetDict
from PIL import Image

ANSWERS = {  # what a question contains: the stand-in's answer; to each benchmark's second one a wrong one
    "mmmu-1 <image 1> <image 2>": "A", "mmmu-2": "the answer is 3.",
    "sqa-1": "A. owl", "sqa-2": "A",
    "vista-1": "7", "vista-2": "bee",
    "ai2d-1": "A. owl", "ai2d-2": "A",
    "pope-1": "Yes", "pope-2": "Yes",
    "docvqa-1": "an owl", "docvqa-2": "nothing",
    "gqa-1": "Owl", "gqa-2": "owl",
    "mme-1-a": "Yes.", "mme-1-b": "No", "mme-2-a": "yes", "mme-2-b": "yes",
}  # fmt: skip
EXPECTED = {  # MME: 200 points for a picture with both questions right, 50 for one with one
    "MMMU": 50.0, "SQA": 50.0, "MathVista": 50.0, "AI2D": 50.0, "MME-C": 125.0, "MME-P": 125.0,
    "POPE": 50.0, "DocVQA": 50.0, "GQA": 50.0,
}  # fmt: skip
OPTIONS = ["owl", "bee"]


def _rows() -> dict[tuple[str, str | None], tuple[str, list[dict]]]:
    """By hub repository and subset: the split and its rows."""
    wide, tall = Image.new("RGB", (60, 40), "red"), Image.new("RGB", (30, 50), "blue")
    mmmu = {"options": str(OPTIONS), "image_1": wide, "image_2": tall}
    about = {"split": "testmini", "language": "english", "source": "made up", "category": "made up", "task": "made up",
             "context": "made up", "grade": "made up", "skills": ["made up"]}  # fmt: skip
    vista = {"decoded_image": wide, "unit": "", "caption": "", "ocr": "", "query": "", "precision": 0.0}
    vista |= {"metadata": about}
    mme = [
        {"question_id": f"{kind}-{n}", "category": kind, "question": f"mme-{n}-{x}?", "answer": truth, "image": wide}
        for kind in ("existence", "code_reasoning")
        for n in (1, 2)
        for x, truth in (("a", "Yes"), ("b", "No"))
    ]
    return {
        ("lmms-lab-encoder/MMMU", None): ("validation", [
            {"id": "validation_Art_1", "question": "mmmu-1 <image 1> <image 2>?", "question_type": "multiple-choice",
             "answer": "A", **mmmu},
            {"id": "validation_Math_1", "question": "mmmu-2 <image 1>?", "question_type": "open", "answer": "2", **mmmu},
        ]),
        ("lmms-lab-encoder/ScienceQA", "ScienceQA-IMG"): ("test", [
            {"question": "sqa-1?", "choices": OPTIONS, "hint": "a drawing", "answer": 0, "image": wide},
            {"question": "sqa-2?", "choices": OPTIONS, "hint": "", "answer": 1, "image": tall},
        ]),
        ("AI4Math/MathVista", None): ("testmini", [
            {"pid": "1", "question": "vista-1?", "question_type": "free_form", "answer_type": "integer",
             "choices": None, "answer": "7", **vista},
            {"pid": "2", "question": "vista-2?", "question_type": "multi_choice", "answer_type": "text",
             "choices": OPTIONS, "answer": "owl", **vista},
        ]),
        ("lmms-lab-encoder/ai2d", None): ("test", [
            {"question": "ai2d-1?", "options": OPTIONS, "answer": "0", "image": wide},
            {"question": "ai2d-2?", "options": OPTIONS, "answer": "1", "image": wide},
        ]),
        ("lmms-lab-encoder/MME", None): ("test", mme),
        ("lmms-lab-encoder/POPE", None): ("test", [
            {"question_id": "1", "question": "pope-1?", "answer": "yes", "image": wide},
            {"question_id": "2", "question": "pope-2?", "answer": "no", "image": wide},
        ]),
        ("lmms-lab-encoder/DocVQA", "DocVQA"): ("validation", [
            {"questionId": "1", "question": "docvqa-1?", "answers": ["owl", "an owl"], "image": wide},
            {"questionId": "2", "question": "docvqa-2?", "answers": ["bee"], "image": tall},
        ]),
        ("lmms-lab-encoder/GQA", "testdev_balanced_instructions"): ("testdev", [
            {"question": "gqa-1?", "answer": "owl", "imageId": "n1"},
            {"question": "gqa-2?", "answer": "bee", "imageId": "n1"},
        ]),
        ("lmms-lab-encoder/GQA", "testdev_balanced_images"): ("testdev", [{"id": "n1", "image": wide}]),
    }  # fmt: skip


def load_dataset(path: str, name: str | None = None, split: str | None = None, **_) -> DatasetDict | Dataset:
    """Stands for `datasets.load_dataset`."""
    its_split, found = _rows()[path, name]
    data = DatasetDict({its_split: Dataset.from_list(found)})
    return data[split] if split else data
