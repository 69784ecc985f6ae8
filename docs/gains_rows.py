"""Which measurements the tables of docs/what-fading-gains.md compare. A cell is GRID/NAME under docs/results."""


def controls_of(fan):
    """Of what a fan deploys: the plain network, and with linear branches, each at both learning rates."""
    return [f"{fan}/control{which}-lr{lr}" for which in (1, 2) for lr in (0.4, 0.8)]


# What was trained, its epochs, the faded cell, the controls (the best of them is what counts), the section that has it: equal epochs.
GAINS = [
    ("ten narrow layers, merged after the first epoch", 5, "short-tiny/faded1-lr0.8",
     ["short-tiny/plain11-lr1.6", "short-tiny/plain11-acnet-lr0.8"], "Five epochs"),
    ("the same, merged after the second", 10, "short-tiny/faded2-lr1.6-10",
     ["deep-first/plain11-lr1.6-10-epochs", "deep-first/plain11-acnet-lr1.6-10-epochs"], "Five epochs"),
    ("the same, layer by layer, merged half way", 20, "fading-tiny/reduce20-expansion4-merged-forward-lr0.4",
     ["fading-tiny/plain11-lr1.6", "fading-tiny/plain11-acnet-lr0.8"], "Ten narrow layers, 20 epochs"),
    ("the same", 40, "fading-tiny/reduce20-expansion4-merged-forward-40-epochs",
     ["fading-tiny/plain11-lr0.8-40-epochs", "fading-tiny/plain11-lr1.6-40-epochs", "fading-tiny/plain11-acnet-lr0.8-40-epochs"],
     "Ten narrow layers, 20 epochs"),
    ("with a teacher, the same for both", 20, "fading-tiny/reduce20-expansion4-merged-lr0.4-taught",
     ["fading-tiny/plain11-lr0.4-taught", "fading-tiny/plain11-lr0.8-taught"], "Ten narrow layers, 20 epochs"),
    ("from a finished deep network, which teaches both", 10, "deep-first/faded-lr0.8-taught-10-epochs",
     ["deep-first/plain11-lr1.6-taught-10-epochs", "deep-first/plain11-acnet-lr1.6-taught-10-epochs"], "A finished deep network first"),
    ("the same", 20, "deep-first/faded-lr0.4-taught",
     ["deep-first/plain11-lr0.8-taught", "deep-first/plain11-acnet-lr0.8-taught"], "A finished deep network first"),
    ("from a finished deep network, no teacher", 10, "deep-first/merged-lr1.6-10-epochs",
     ["deep-first/plain11-lr1.6-10-epochs", "deep-first/plain11-acnet-lr1.6-10-epochs"], "A finished deep network first"),
    ("ten layers twice as wide, merged half way", 10, "resnets-narrow/reduce20-expansion4-merged-lr0.4",
     ["resnets-narrow/plain11-lr0.4", "resnets-narrow/plain11-lr0.8"], "Beside ResNets"),
    ("ten layers of usual width, merged half way", 10, "fading/reduce20-expansion4-merged-lr0.4",
     ["fading/plain11-lr0.2", "fading/plain11-lr0.8"], "Wider networks"),
    ("nine layers in four stages up to 192 channels, merged after the first epoch", 10, "resnets/reduce-four-stages-expansion2-merged1",
     ["resnets/plain-four-stages"], "Beside ResNets"),
    ("the same up to 256 channels", 10, "resnets/reduce-four-stages-wider-expansion2-merged1",
     ["resnets/plain-four-stages-wider"], "Beside ResNets"),
    ("28 narrow layers with a shortcut inside each ReLU, merged after four epochs", 10, "deep-tiny/reduce56-expansion4-merged-identity-lr0.4",
     controls_of("fan29-narrow"), "29 narrow layers"),
    ("9 of 10 activations left, narrow", 10, "fan11-narrow/k9", controls_of("fan11-narrow"),
     "Fewer and fewer activations, equally many epochs"),
    ("3 of 10", 10, "fan11-narrow/k3", controls_of("fan11-narrow"),
     "Fewer and fewer activations, equally many epochs"),
    ("9 of 10, usual width", 10, "fan11/k9", controls_of("fan11"), "Few activations: faded or shallow from the start"),
    ("3 of 10, usual width", 10, "fan11/k3", controls_of("fan11"), "Few activations: faded or shallow from the start"),
    ("3 of 10 spread evenly; control: as few from the first step on, with a shortcut inside each layer or without", 10,
     "shallow/ten-uniform-k3",
     ["shallow/ten-uniform-k3-never", "shallow/ten-uniform-k3-never-lr0.8", "shallow/ten-uniform-k3-never-identity", "fan11/direct-k3",
      "shallow/plain-three"],
     "Few activations: faded or shallow from the start"),
    ("28 layers of usual width with a shortcut inside each ReLU, merged after the first epoch", 10,
     "deep/reduce56-expansion2-merged1-identity", controls_of("fan29"), "29 layers of usual width"),
    ("27 of 28 activations left, usual width", 10, "fan29/k27", controls_of("fan29"), "29 layers of usual width"),
    ("18 of 28", 10, "fan29/k18", controls_of("fan29"), "29 layers of usual width"),
    ("9 of 28", 10, "fan29/k9", controls_of("fan29"), "29 layers of usual width"),
    ("3 of 28; control: as few from the first step on", 10, "fan29/k3", ["fan29/direct-k3"],
     "29 layers of usual width"),
    ("18 of 28, narrow", 10, "fan29-narrow/k18", controls_of("fan29-narrow"),
     "Fewer and fewer activations, equally many epochs"),
]

# What the shallow networks are compared with, and of the grid resnets what the README shows.
RESNETS = ["resnet20", "resnet32", "resnet44", "resnet56"]
BESIDE_RESNETS = {
    "resnet20": "ResNet-20",
    "resnet32": "ResNet-32",
    "resnet44": "ResNet-44",
    "resnet56": "ResNet-56",
    "reduce-four-stages-expansion2-merged1": "9 layers in four stages of 16, 48, 96 and 192 channels, faded",
    "plain-four-stages": "control: trained directly",
    "reduce-four-stages-wider-expansion2-merged1": "16, 80, 160 and 256 channels, faded",
    "plain-four-stages-wider": "control: trained directly",
    "reduce-four-stages-widest-expansion2-merged1": "16, 96, 192 and 384 channels, faded",
    "plain-four-stages-widest": "control: trained directly",
    "reduce-four-stages-expansion2-merged1-16-epochs": "16, 48, 96 and 192 channels, faded, 16 epochs",
    "plain-four-stages-16-epochs": "control: trained directly, 16 epochs",
}
