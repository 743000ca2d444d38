"""Whatever is asked wrongly is refused in one line that names the way out, and writes nothing."""

from __future__ import annotations

import pytest

from compact_vit.cli import COMMANDS, main

FOLDER = "train --dataset folder --data-dir"

TABLE = [
    # the command itself
    ("trian", "unknown program 'trian': did you mean 'train'?"),
    ("zzz", "unknown program 'zzz': choose from train, experiment, evaluate, predict, "),
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
    ("train --lr 1e-9 --min-lr 1e-5", "min_lr must be at most lr (1e-09), got 1e-05"),
    ("train --label-smoothing 1", "label_smoothing must be a number in [0, 1), got 1.0"),
    ("train --val-fraction 1.5", "val_fraction must be a number in [0, 1), got 1.5"),
    ("train --val-fraction 0.9999", "val_fraction: wanted every one of 10 classes in both parts"),
    ("train --mix-switch 2", "mix_switch must be a probability in [0, 1], got 2.0"),
    ("train --rand-magnitude 11", "rand_magnitude must be a number in [0, 10], got 11.0"),
    ("train --img-size 16x", "wanted pixels such as 32 or 32x48, got '16x'"),
    ("train --img-size 0", "img_size must be a side or (height, width) of at least 3 pixels"),
    ("train --model vit_lite_2_16 --img-size 8", "of at least 16 pixels, got 8"),
    ("train --img-size 99999999", "img_size must be at most 10,000 pixels a side, got 99999999"),
    ("train --epochs 99999999", "epochs must be at most 1,000,000, got 99999999"),
    ("train --crop-padding 99", "crop_padding must be at most the pictures' shorter side (16)"),
    (f"train --seed {2**64}", "seed must be less than 2**63, got 18446744073709551616"),
    ("train --rand-num-ops 0", "rand_num_ops must be a whole number of at least 1, got 0"),
    ("train --min-crop-area 0", "min_crop_area must be a number in (0, 1], got 0.0"),
    ("train --ema 1", "ema must be a number in [0, 1), got 1.0"),
    ("train --clip-grad -1", "clip_grad must be a number of at least 0, got -1.0"),
    ("train --accumulation half", "wanted a whole number of at least 1, or auto: 'half'"),
    ("train --compile sometimes", "unknown compile 'sometimes': choose from auto, on, off"),
    ("train --mixup 1e-9", "mixup must be 0 or at least 0.000001, got 1e-09"),
    ("train --optimizer adamww", "unknown optimizer 'adamww': did you mean 'adamw'?"),
    ("train --momentum 0.5", "momentum must be left out with optimizer 'adamw', got 0.5"),
    ("train --schedule cosin", "unknown schedule 'cosin': did you mean 'cosine'?"),
    ("train --decay-rate 0.5", "decay_rate must be left out with schedule 'cosine', got 0.5"),
    ("train --early-stopping 3", "early_stopping must be 0 without a validation split"),
    ("train --on-bad-picture ignore", "unknown on_bad_picture 'ignore': choose from refuse, skip"),
    ("train --class-weight equal", "unknown class_weight 'equal': choose from none, balanced"),
    ("train --overfit 10 --dropout 0.1", "dropout must be 0.0 with overfit"),
    ("train --time-limit soon", "time_limit must be a time such as 90s, 30m or 1h30m, got 'soon'"),
    ("train --time-limit 0s", "time_limit must be a time such as 90s, 30m or 1h30m, got '0s'"),
    ("train --seed -1", "seed must be a whole number of at least 0, got -1"),
    ("train --flip 0.5", "flip must be 0: Handwritten digits"),
    ("train --warmup-ratio 0.5 --cooldown-ratio 0.5", "must leave epochs between them"),
    ("train --accumulation 9 --batch-size 8", "at most batch_size (8), got 9"),
    ("report cct_2_3x2 --num-classes -4", "num_classes must be"),
    ("train --model cct_2_" + "3" * 6000 + "x1", "names are of the form vit_lite_L_P, "),
    ("predict run a.png --top 0", "top must be a whole number of at least 1, got 0"),
    ("predict run a.png --top many", "--top: invalid int value: 'many'"),
    # data
    ("train --dataset folder", "data_dir must be the path of a folder"),
    ("train --data-dir pictures", "choose the data set 'folder'"),
    (f"{FOLDER} nowhere", "data folder nowhere does not exist"),
    (f"{FOLDER} note.txt", "data folder note.txt is not a folder"),
    (
        f"{FOLDER} pictures/train",
        "found cats/, dogs/; --test-fraction 0.2 takes a fifth of",
    ),
    (f"{FOLDER} empty", "wanted train/<class>/ in it, found none"),
    (
        f"{FOLDER} pictures --test-fraction 0.2",
        "must be left out: pictures has a test/",
    ),
    ("train --test-fraction 0.2", "has test pictures of its own, got 0.2"),
    (
        f"{FOLDER} pictures --val-fraction 0.1",
        "val_fraction: wanted every one of 2 classes in both",
    ),
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
    ("evaluate run --split val", "there is no validation split"),
    ("evaluate run --checkpoint lats", "unknown checkpoint 'lats': did you mean 'last'?"),
    ("evaluate run --checkpoint first", "unknown checkpoint 'first': choose from last, best"),
    ("evaluate run --device tpu", "device must be one"),
    ("evaluate run --data-dir pictures", "data_dir must not be given"),
    ("evaluate run --dataset digits", "dataset is for weights, which 'run' is not: leave it out"),
    ("evaluate nowhere --dataset digits", "with dataset, run must be the folder of weights, or"),
    ("evaluate cct_2_3x4 --dataset digits", "which does not exist: did you mean 'cct_2_3x"),
    ("evaluate cct_2_3x3", "is weights and not a run: it can be given to predict --pretrained"),
    ("evaluate cct_2_3x3 --dataset folder", "data_dir must be the path of a folder"),
    ("evaluate cct_2_3x3 --dataset digit", "unknown data set 'digit': did you mean 'digits'?"),
    ("evaluate cct_2_3x3 --dataset digits", "classes are not the model's: it was trained on 10"),
    ("evaluate cct_2_3x3 --dataset digits --checkpoint best", "checkpoint is of a run: leave it"),
    ("train --resume cct_2_3x3", "'cct_2_3x3' is weights and not a run"),
    ("predict empty a.png", "'empty' is not the folder of a run"),
    ("predict run b.png", "no picture at b.png"),
    ("predict run note.txt", "cannot read the picture note.txt"),
    ("predict run a.png note.txt", "cannot read the picture note.txt"),
    ("predict run empty", "folder 'empty': wanted pictures in it, found none"),
    ("predict run . --csv", "leave it out with --on-bad-picture skip"),
    ("predict run note.txt --on-bad-picture skip", "cannot read the picture note.txt"),
    ("predict run b.png --on-bad-picture skip", "no picture at b.png"),
    ("predict run a.png --on-bad-picture skp", "unknown on_bad_picture 'skp': did you mean 'skip'"),
    ("predict run a.png --csv --json", "not allowed with argument --csv"),
    ("predict run a.png --checkpoint worst", "unknown checkpoint 'worst'"),
    ("predict run a.png --device tpu", "device must be one of this machine's, got 'tpu'"),
    ("predict --pretrained cct_2_3y2 a.png", "got 'cct_2_3y2', which does not exist: did you mean"),
    ("predict --pretrained empty a.png", "no folder of weights at 'empty'"),
    ("predict --pretrained run a.png", "'run/config.json' does not describe weights"),
    ("export empty --output out", "'empty' is not the folder of a run"),
    ("export run", "the following arguments are required: --output"),
    ("export run --output run", "output 'run' is the folder of a run, or of something else with"),
    ("export run --output note.txt", "output must be a folder, got 'note.txt'"),
    ("export run --output out --checkpoint worst", "unknown checkpoint 'worst'"),
    ("export run --output out --device tpu", "device must be one of this machine's, got 'tpu'"),
    ("export run --output out --haf", "did you mean '--half'?"),
    ("report cct_6_3y1", "unknown model 'cct_6_3y1': did you mean 'cct_6_3x1'?"),
    ("report cct_2_3x2 --positional-embedding lernable", "did you mean 'learnable'?"),
    ("page", "the following arguments are required: RUN"),
    ("page nowhere", "'nowhere' is not the folder of a run"),
    ("page run --output page.txt", "output must end in .html, got 'page.txt'"),
    ("page run --published imagenet", "unknown data set with published results 'imagenet'"),
    ("page run --published cifar10", "which cannot be compared with cifar10"),
    ("report cct_2_3x2 cvt_2_5x1", "unknown model 'cvt_2_5x1': did you mean"),
    ("report cct_2_3x2 --img-size 2", "of at least 3 pixels, got 2"),
    ("report cct_2_3x2 --in-chans 0", "in_chans must be a whole number of at least 1, got 0"),
    ("report cct_2_3x2 --by layer", "unknown grouping 'layer': choose from kind, module"),
    (
        "report cct_2_3x2 --format yaml",
        "--format: unknown format 'yaml': choose from table, markdown, csv",
    ),
    ("report cct_2_3x2 --plot sizes.doc", "must end in .png, .pdf or .svg, got 'sizes.doc'"),
    # pictures of runs
    ("plot curve run", "unknown picture 'curve': did you mean 'curves'?"),
    ("plot histogram run", "unknown picture 'histogram': choose from curves, confusion, "),
    ("plot --outptu a.png", "unknown argument '--outptu': see --help"),
    ("plot curves", "the following arguments are required: RUN"),
    ("plot curves nowhere", "'nowhere' is not the folder of a run"),
    ("plot curves run ./run", "curves need every run once, got 'run' twice"),
    ("plot curves run --axes log", "unknown axes 'log': did you mean 'log-log'?"),
    ("plot curves run --output curves.doc", "must end in .png, .pdf or .svg, got 'curves.doc'"),
    ("plot confusion run --split val", "there is no validation split"),
    ("plot errors run --count 0", "count must be a whole number of at least 1, got 0"),
    ("plot attention run", "the following arguments are required: PICTURE"),
    ("plot attention run b.png", "no picture at b.png: give the path of a picture file"),
    ("plot samples --draws 99", "draws must be a whole number from 1 to 32, got 99"),
    ("plot samples run --flip 0.1", "leave out RUN, or --flip"),
    ("plot schedule --lr 0", "lr must be a number above 0, got 0.0"),
    # speed
    ("bench", "the following arguments are required: NAME"),
    ("bench cct_2_3y2", "unknown model 'cct_2_3y2': did you mean 'cct_2_3x2'?"),
    ("bench cct_2_3x2 --rounds 0", "--rounds: wanted a whole number of at least 1, got '0'"),
    ("bench cct_2_3x2 --threads two", "--threads: wanted a whole number of at least 1, got 'two'"),
    ("bench cct_2_3x2 --batch-size -1", "--batch-size: wanted a whole number of at least 1"),
    ("bench cct_2_3x2 --precision fp23", "unknown precision 'fp23': did you mean 'fp32'?"),
    ("bench cct_2_3x2 --compile maybe", "unknown compile 'maybe': choose from auto, on, off"),
    ("bench cct_2_3x2 --device gpu", "device must be one of this machine's, got 'gpu'"),
    ("bench cct_2_3x2 --num-classes -1", "num_classes must be a whole number"),
    ("bench cct_2_3x2 --threads 99999999", "threads must be at most 1,024, got 99999999"),
    (f"bench cct_2_3x2 --num-classes {10**30}", "num_classes must be at most 1,000,000,000"),
    ("bench cct_2_3x2 --num-classes 999999999", "out of memory: ask for smaller pictures"),
    # scores
    ("score", "nothing to score: give --accuracy with --parameters, --runs, --published"),
    ("score --accuracy 0.75 --parameters 1M", "must be in percent, got 0.75: was 75 meant?"),
    ("score --accuracy 175 --parameters 1M", "a percentage from 0 to 100, got 175.0"),
    ("score --accuracy 75", "--accuracy needs its size: either --parameters N or --effective FILE"),
    ("score --accuracy 75 --parameters 3.17", "such as 3191397, 3.19M or 500k, got '3.17'"),
    ("score --accuracy 75 --parameters 1M --n 0", "--n: wanted a whole number of at least 1"),
    ("score --accuracy 75 --parameters 1M --floor 170", "floor must be a percentage from 0 to 100"),
    ("score --accuracy 75 --effective nowhere.bin", "nowhere.bin: No such file or directory"),
    ("score --accuracy 75 --effective run/last.pt", "use --runs 'run' --effective"),
    ("score --runs nowhere", "nothing to rank: 'nowhere' is not the folder of a run"),
    ("score --runs run --n 5", "belong to --accuracy, which is missing"),
    ("score --runs run --published", "nothing is published here of digits, only of cifar10 or"),
    ("score --published cifar-10", "did you mean 'cifar10'?"),
    ("suggest --max-macs 1M --format jsn", "--format: unknown format 'jsn': did you mean 'json'?"),
    (
        "score --published cifar10 --format jsn",
        "--format: unknown format 'jsn': did you mean 'json'?",
    ),
    ("score --published cifar10 --plot front.doc", "must end in .png, .pdf or .svg"),
    # budgets
    ("suggest", "no limit given: say --max-parameters, --max-macs or --max-latency"),
    ("suggest --max-parameters lots", "such as 3191397, 3.19M or 500k, got 'lots'"),
    ("suggest --max-parameters 1k", "nothing fits: the smallest is cvt_2_4 with"),
    ("suggest --max-latency 5", "a time above 0 with its unit, such as 5ms or 0.5s, got '5'"),
    ("suggest --max-macs 1M --img-size 2", "img_size must be"),
    ("suggest --max-macs 1M --num-classes 0", "num_classes must be at least 1, got 0"),
    ("suggest --max-macs 1M --dataset cifar-100", "did you mean 'cifar100'?"),
    ("suggest --max-macs 1M --dataset folder", "say --num-classes: the data set folder has none"),
    # what is learnt, and who is told
    ("train --objective mea", "unknown objective 'mea': did you mean 'mae'?"),
    ("train --objective mae --mask-block 3", "mask_block must divide the 16x16 pixels"),
    ("train --objective mae --model rn_1", "only the compact transformers"),
    ("train --objective mae --mixup 0.5", "mixup must be 0.0 with objective 'mae'"),
    ("train --objective mae --mask-ratio 0", "mask_ratio must be above 0"),
    ("train --mask-ratio 1.5", "mask_ratio must be a number in [0, 1), got 1.5"),
    ("train --mask-block half", "--mask-block: invalid int value: 'half'"),
    (
        "train --init-from nobody",
        "package (cct2_2_3x2, cct_2_3x2, cct_2_3x3, cct_4_3x2), got 'nobody'",
    ),
    ("train --init-from cct_2_3x4", "which does not exist: did you mean 'cct_2_3x3'?"),
    ("train --init-from empty", "got 'empty', a folder of something else"),
    ("train --init-from note.txt", "got 'note.txt', a file"),
    ("train --teacher nobody", "'nobody' is not the folder of a run"),
    ("train --teacher a.png", "'a.png' is not the folder of a run"),
    ("train --teacher timm/resnet_18", "unknown model 'timm/resnet_18'"),
    ("train --temperature 3", "temperature must be left out without a teacher, got 3.0"),
    ("train --teacher run --distillation 2", "distillation must be a number in (0, 1], got 2.0"),
    ("train --report-on vla", "unknown report_on 'vla': did you mean 'val'?"),
    ("train --report-on val", "report_on must not be 'val' without a validation split"),
    ("train --train-pictures 5000", "at most the 1,437 training pictures, got 5000"),
    ("train --train-pictures -1", "a whole number of at least 0, got -1"),
    ("train --track tensorbored", "unknown track 'tensorbored': did you mean 'tensorboard'?"),
    ("train --track wandb wandb", "track must hold 'wandb' once"),
    ("train --head wide", "wanted widths such as 1024,256: 'wide'"),
    ("train --head 64", "unknown model option 'head'"),
    ("train --compile graph", "did you mean 'graphs'?"),
    ("bench cct_2_3x2 --compile graphs", "unknown compile 'graphs'"),
    # experiments
    ("experiment gird depth.yaml", "did you mean 'grid'?"),
    ("experiment grid nothing.yaml", "nothing.yaml"),
    ("experiment grid a.png", "'a.png' is not text in UTF-8 (byte 0)"),
    ("experiment search nothing.yaml", "nothing.yaml"),
    ("suggest --max-macs 1M --top 0", "--top: wanted a whole number of at least 1"),
]


@pytest.mark.parametrize(("words", "said"), TABLE, ids=[words[:60] for words, _ in TABLE])
def test_one_line_and_nothing_written(place, refusal, words, said) -> None:
    assert said in refusal(words)


def test_nothing_said_is_nothing_said(place, refusal) -> None:
    """An empty word is no word that was left out."""
    assert "leave out --output" in refusal(["train", "--resume", "run", "--output", ""])
    assert "output '.' is not empty" in refusal(["train", "--output", ""])
    assert "'.' is not the folder of a run" in refusal(["train", "--resume", ""])
    assert "unknown data set ''" in refusal(["train", "--dataset", ""])
    assert "unknown program ''" in refusal([""])


def test_every_command_is_in_the_table() -> None:
    assert {words.split()[0] for words, _ in TABLE} >= set(COMMANDS)
    assert len({words for words, _ in TABLE}) == len(TABLE)


def test_what_is_fine_is_not_refused(place) -> None:
    """The place is good: what the tables damage works before."""
    assert main(["predict", "run", "a.png", "--device", "cpu"]) == 0
    assert main(["evaluate", "run", "--device", "cpu"]) == 0
    assert main(["train", "--resume", "run", "--quiet"]) == 0
    assert main(f"{FOLDER} pictures --epochs 1 --img-size 16 --output out --quiet".split()) == 0
