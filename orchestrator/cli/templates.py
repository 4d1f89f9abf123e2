"""The text of the files that `init` writes: what all tasks share, the stages of each task, the data of each format."""

HEAD = """\
# yaml-language-server: $schema={schema}
# Check it with `orchestrator validate {file}`, see what would run with `orchestrator plan {file}`,
# run it with `orchestrator run {file}`. Paths are relative to this file; ${{env:NAME}} is filled in.
name: {name}
seed: 0

data:
  {data_name}:
{data}
"""

STAGES: dict[str, str] = {
    "detection": """\
stages:
  detector:
    kind: train
    task: {task}
    data: {data_name}
    train_split: train
    val_split: val                     # null = no evaluation during training
    model: {{name: yolo, size: nano}}    # `orchestrator zoo` lists all
    image_size: [320, 320]             # height, width that the model sees
    augment:
      preset: default                  # none, default or strong
      # transforms: [{{HorizontalFlip: {{p: 0.5}}}}]    # albumentations' own names and arguments
    loop:
      epochs: 30
      batch_size: 16                   # images per step over ALL workers
      optimizer: {{name: adamw, lr: 1.0e-3, weight_decay: 0.01}}
      schedule: {{name: cosine, warmup_epochs: 1.0}}
      precision: auto                  # bf16 where the hardware has it, else fp32
      ema: 0.998                       # average of the weights; it is what is evaluated and kept
      # early_stop: {{metric: map_50, patience: 8}}
    resources: {{num_workers: 1, use_gpu: auto}}    # 0 = in this process, without Ray
    # failure: {{max_failures: 3, hang_timeout_s: 300}}
    # checkpoint: {{every_steps: 200, num_to_keep: 2}}

  test:
    kind: evaluate
    model: "stage:detector"
    data: {data_name}
    split: test

  register:
    kind: register
    model: "stage:detector"
    name: {name}-detector
    alias: champion                    # load it as models:/{name}-detector@champion
    gate:                              # each must agree, otherwise nothing is registered
      - {{metric: test.map, vs: champion, max_drop: 0.005}}
      # - {{metric: test.map_50, min: 0.5}}

storage: runs                          # results, checkpoints and the MLflow database
# tracking: {{uri: "http://localhost:5000", experiment: {name}}}
""",
    "classification": """\
stages:
  classifier:
    kind: train
    task: {task}
    data: {data_name}
    train_split: train
    val_split: val                     # null = no evaluation during training
    model: {{name: resnet18, width: 0.5}}    # `orchestrator zoo backbones` lists all
    image_size: {image_size}             # height, width that the model sees
    resize: {resize}                  # crop = the centre, squash = all of it, letterbox = all of it with borders
    augment:
      preset: small                    # none, small, imagenet, alexnet or strong
      flip_horizontal: {flip}             # 0 where a mirror image is of another class, as of digits
      # transforms: [{{CLAHE: {{p: 0.3}}}}]             # albumentations' own names and arguments
    loss: {{name: cross_entropy, label_smoothing: 0.1}}
    # sampler: {{name: class_balanced}}               # for classes that are not equally frequent
    loop:
      epochs: 20
      batch_size: 64                   # images per step over ALL workers
      optimizer: {{name: adamw, lr: 2.0e-3, weight_decay: 0.05}}
      schedule: {{name: cosine, warmup_epochs: 1.0}}
      precision: auto                  # bf16 where the hardware has it, else fp32
      # early_stop: {{metric: top1, patience: 8}}
    resources: {{num_workers: 1, use_gpu: auto}}    # 0 = in this process, without Ray
    # failure: {{max_failures: 3, hang_timeout_s: 300}}
    # checkpoint: {{every_steps: 200, num_to_keep: 2}}

  test:
    kind: evaluate
    model: "stage:classifier"
    data: {data_name}
    split: {test_split}

  register:
    kind: register
    model: "stage:classifier"
    name: {name}-classifier
    alias: champion                    # load it as models:/{name}-classifier@champion
    gate:                              # each must agree, otherwise nothing is registered
      - {{metric: test.top1, vs: champion, max_drop: 0.005}}
      # - {{metric: test.balanced_accuracy, min: 0.8}}

storage: runs                          # results, checkpoints and the MLflow database
# tracking: {{uri: "http://localhost:5000", experiment: {name}}}
""",
}

DATA_LINES = {
    "scenes": """\
    format: scenes                     # made on first use, no download: digits over photographs
    num_images: 400""",
    "voc": """\
    format: voc                        # Annotations/*.xml, JPEGImages/, ImageSets/Main/SPLIT.txt
    root: {root}""",
    "coco": """\
    format: coco                       # annotations/instances_SPLIT.json and SPLIT/; or `splits` with files by name
    root: {root}""",
    "yolo": """\
    format: yolo                       # images/SPLIT/, labels/SPLIT/*.txt, or a data.yaml
    root: {root}""",
    "imagefolder": """\
    format: imagefolder                # SPLIT/CLASS/*, or CLASS/* alone
    root: {root}
    {val_from_train}val_from_train: 0.2                # hold this share of train out, for lack of a folder val""",
    "digits": """\
    format: digits                     # scikit-learn's, written on first use""",
}
DATA_TAIL = """\
    {classes}
    on_error: refuse                   # a broken image or box: refuse, or quarantine (leave out and count)
"""
