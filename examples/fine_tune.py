"""From one task to another: new classes, larger pictures, slower lower layers."""

from __future__ import annotations

import torch

from compact_vit import cct_2_3x2


def main() -> None:
    # the package's weights; load_reference_state_dict(model, "published.pth") reads published ones
    model = cct_2_3x2(pretrained=True, num_classes=3)
    larger = torch.randn(4, 3, 48, 64)  # positions are resized on the way
    print(tuple(model(larger).shape))

    lower = [*model.tokenizer.parameters(), *model.blocks[0].parameters()]
    kept = {id(parameter) for parameter in lower}
    upper = [p for p in model.parameters() if id(p) not in kept]
    optimizer = torch.optim.AdamW(
        [{"params": lower, "lr": 1e-4}, {"params": upper, "lr": 1e-3}], weight_decay=0.03
    )
    loss = torch.nn.functional.cross_entropy(model(larger), torch.tensor([0, 1, 2, 0]))
    loss.backward()
    optimizer.step()
    print("one step of fine-tuning done")


if __name__ == "__main__":
    main()
