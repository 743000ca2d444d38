"""Arrays of your own in a loop of your own, with the library's parts: seconds on a CPU."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from timm.optim import param_groups_weight_decay

from compact_vit import LabelSmoothingCrossEntropy, cct_2_3x1
from compact_vit.data import BatchLoader, Pictures, stratified_split
from compact_vit.data.augment import Compose, Mix, Normalize, RandomCrop, TrivialAugment

EPOCHS = 10


def main() -> None:
    digits = load_digits()
    # uint8 [N,C,H,W] and int64 [N]: whatever you have as arrays comes to this
    images = torch.from_numpy((digits.images * 15).astype(np.uint8))[:, None]
    labels = torch.from_numpy(digits.target).long()
    kept, held = stratified_split(labels, 0.2, seed=0)
    mean, std = ((f(images[kept] / 255).item(),) for f in (torch.mean, torch.std))

    generator = torch.Generator().manual_seed(0)  # of the order and of every draw
    torch.manual_seed(0)  # of the weights and of dropout
    train = Pictures(images[kept], labels[kept])
    loader = BatchLoader(train, 64, shuffle=True, generator=generator, drop_last=True)
    augment = Compose([RandomCrop(1), TrivialAugment()])  # uint8 to uint8, a batch at once
    normalize, mix = Normalize(mean, std), Mix(10, mixup_alpha=0.2)

    model = cct_2_3x1(img_size=8, in_chans=1, num_classes=10)
    groups = param_groups_weight_decay(model, 0.05, model.no_weight_decay())
    optimizer = torch.optim.AdamW(groups, lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, EPOCHS * len(loader))
    criterion = LabelSmoothingCrossEntropy(0.1)
    for _ in range(EPOCHS):
        model.train()
        for pictures, answers in loader:
            x = normalize(augment(pictures, generator))
            x, targets = mix(x, answers, generator)  # probabilities [B,K]
            criterion(model(x), targets).backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()

    model.eval()
    with torch.inference_mode():
        said = model(normalize(images[held])).argmax(dim=1)
    print(f"{100 * (said == labels[held]).float().mean():.1f}% of {len(held)} digits held out")
    # with these, model.save_pretrained("FOLDER") writes all that predict and timm need
    model.pretrained_cfg |= {"mean": mean, "std": std, "label_names": tuple("0123456789")}


if __name__ == "__main__":
    main()
