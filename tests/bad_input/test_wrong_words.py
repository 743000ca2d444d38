"""Whatever is asked wrongly is refused in one line that names the way out, and writes nothing."""

from __future__ import annotations

import pytest

from compact_vit.cli import main

FOLDER = "train --dataset folder --data-dir"

TABLE = [
    # the command itself
    ("trian", "unknown program 'trian': did you mean 'train'?"),
    ("zzz", "unknown program 'zzz': choose from train, evaluate, predict, "),
    ("--versoin", "unknown argument '--versoin': did you mean '--version'?"),
    # options
    ("train --epoch 3", "unknown argument '--epoch': did you mean '--epochs'?"),
    ("train --batchsize=8", "unknown argument '--batchsize=8': did you mean '--batch-size'?"),
    ("train cifar10", "unknown argument 'cifar10': see --help"),
    ("train --epochs", "--epochs: expected one argument"),
    ("train --no-flip", "unknown argument '--no-flip': did you mean"),
    ("evaluate", "the following arguments are required: RUN"),
    ("evaluate run --spilt test", "did you mean '--split'?"),
    ("predict run", "the following arguments are required: PICTURE"),
    ("predict run a.png --topp 3", "did you mean '--top'?"),
    ("report", "the following arguments are required: NAME"),
    # names
    ("train --dataset cifar-100", "unknown data set 'cifar-100': did you mean 'cifar100'?"),
    ("train --dataset imagenet", "unknown data set 'imagenet': choose from digits, cifar10"),
    ("train --model cct_6_3y1", "unknown model 'cct_6_3y1': did you mean 'cct_6_3x1'?"),
    ("train --model resnet18", "unknown model 'resnet18'"),
    ("train --model cct_9_3x1", "its depth must be one of 2, 4, 6, 7, 8, 14"),
    ("train --recipe published200", "unknown recipe 'published200': did you mean 'published-200'?"),
    ("train --auto-augment rnad", "unknown auto_augment 'rnad': did you mean 'rand'?"),
    (
        "train --precision float16",
        "'float16': choose from auto, fp32, bf16, fp16",
    ),
    ("train --positional-embedding sin", "did you mean 'sine'?"),
    ("train --residual prenorm", "unknown residual 'prenorm': did you mean 'pre_norm'?"),
    ("train --device gpu", "device must be one of this machine's, got 'gpu'"),
    ("train --device cuda:99", "device must be one of this machine's, got 'cuda:99'"),
    ("train --device hpu", "device must be one"),
    ("train --device meta", "device must be one that computes, got 'meta'"),
    # numbers
    ("train --epochs three", "--epochs: invalid int value: 'three'"),
    ("train --epochs 2.5", "--epochs: invalid int value: '2.5'"),
    ("train --epochs 0", "epochs must be a whole number of at least 1, got 0"),
    ("train --batch-size -8", "batch_size must be a whole number of at least 1, got -8"),
    ("train --lr 0", "lr must be a number above 0, got 0.0"),
    ("train --lr nan", "lr must be a number above 0, got nan"),
    ("train --lr 1e400", "lr must be a number above 0, got inf"),
    ("train --lr 1e-9", "min_lr must be at most lr (1e-09), got 1e-05"),
    ("train --label-smoothing 1", "label_smoothing must be a number in [0, 1), got 1.0"),
    ("train --val-fraction 1.5", "val_fraction must be a number in [0, 1), got 1.5"),
    ("train --val-fraction 0.9999", "held-out fraction"),
    ("train --mix-switch 2", "mix_switch must be a probability in [0, 1], got 2.0"),
    ("train --rand-magnitude 11", "rand_magnitude must be a number in [0, 10], got 11.0"),
    ("train --img-size 16x", "wanted pixels such as 32 or 32x48, got '16x'"),
    ("train --img-size 0", "img_size must be a side or (height, width) of at least 3 pixels"),
    ("train --model vit_lite_2_16 --img-size 8", "of at least 16 pixels, got 8"),
    ("train --img-size 99999999", "out of memory: ask for smaller pictures"),
    ("train --seed -1", "seed must be a whole number of at least 0, got -1"),
    ("train --flip 0.5", "flip must be 0: Handwritten digits"),
    ("train --warmup-ratio 0.5 --cooldown-ratio 0.5", "must leave epochs between them"),
    ("train --accumulation 9 --batch-size 8", "at most batch_size (8), got 9"),
    ("report cct_2_3x2 --num-classes -4", "num_classes must be"),
    ("predict run a.png --top 0", "top must be a whole number of at least 1, got 0"),
    ("predict run a.png --top many", "--top: invalid int value: 'many'"),
    # data
    ("train --dataset folder", "data_dir must be the path of a folder"),
    ("train --data-dir pictures", "choose the data set 'folder'"),
    (f"{FOLDER} nowhere", "data folder nowhere does not exist"),
    (f"{FOLDER} note.txt", "data folder note.txt is not a folder"),
    (f"{FOLDER} pictures/train", "wanted train/<class>/ in it, found cats/, dogs/"),
    (f"{FOLDER} empty", "wanted train/<class>/ in it, found none"),
    (f"{FOLDER} pictures --val-fraction 0.1", "held-out fraction"),
    ("train --dataset cifar10 --data-dir empty --no-download", "downloading is off"),
    # where to write
    ("train --output run", "output 'run' is not empty: choose another"),
    ("train --output note.txt", "output must be a folder, got 'note.txt': 'note.txt' is a file"),
    ("train --output note.txt/run", "'note.txt' is a file"),
    ("evaluate run --output matrix.doc", "must end in .png, .pdf or .svg, got 'matrix.doc'"),
    ("evaluate run --output empty", "must end in .png, .pdf or .svg, got 'empty'"),
    # runs
    ("train --resume nowhere", "'nowhere' is not the folder of a run"),
    ("train --resume empty", "'empty' is not the folder of a run: it has no config.json"),
    ("train --resume note.txt", "'note.txt' is not the folder of a run"),
    ("train --resume run --epochs 9", "goes on as the run began: leave out --epochs"),
    ("train --resume run --output other", "leave out --output"),
    ("evaluate nowhere", "'nowhere' is not the folder of a run"),
    ("evaluate run --split tset", "unknown split 'tset': did you mean 'test'?"),
    ("evaluate run --split val", "the run held out no validation split"),
    ("evaluate run --checkpoint lats", "unknown checkpoint 'lats': did you mean 'last'?"),
    ("evaluate run --checkpoint first", "unknown checkpoint 'first': choose from last, best"),
    ("evaluate run --device tpu", "device must be one"),
    ("evaluate run --data-dir pictures", "data_dir must not be given"),
    ("predict empty a.png", "'empty' is not the folder of a run"),
    ("predict run b.png", "no picture at b.png"),
    ("predict run note.txt", "cannot read the picture note.txt"),
    ("predict run a.png note.txt", "cannot read the picture note.txt"),
    ("predict run pictures", "cannot read the picture pictures"),
    ("predict run a.png --checkpoint worst", "unknown checkpoint 'worst'"),
    ("report cct_6_3y1", "unknown model 'cct_6_3y1': did you mean 'cct_6_3x1'?"),
    ("report cct_2_3x2 --positional-embedding lernable", "did you mean 'learnable'?"),
]


@pytest.mark.parametrize(("words", "said"), TABLE)
def test_one_line_and_nothing_written(place, refusal, words, said) -> None:
    assert said in refusal(words)


def test_what_is_fine_is_not_refused(place) -> None:
    """The place is good: what the tables damage works before."""
    assert main(["predict", "run", "a.png", "--device", "cpu"]) == 0
    assert main(["evaluate", "run", "--device", "cpu"]) == 0
    assert main(["train", "--resume", "run", "--quiet"]) == 0
    assert main(f"{FOLDER} pictures --epochs 1 --img-size 16 --output out --quiet".split()) == 0
