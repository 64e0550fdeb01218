"""Distribution metadata, dependencies and entry points of ReSG."""

from pathlib import Path
from runpy import run_path

from setuptools import find_packages, setup

EXTRAS = {
    # detectron2 is on no package index: README.md repeats its own documentation's install line.
    "detectron2": ["torchvision", "pycocotools", "onnx>=1.16"],
    "torchvision": ["torchvision", "onnx>=1.16", "pycocotools"],
    "scatter": ["torch-scatter>=2.1.2"],
    "heif": ["pillow-heif>=0.16"],
    "bert": ["transformers>=4.40"],
    "search": ["faiss-cpu>=1.8"],
    "serve": ["fastapi>=0.115", "uvicorn>=0.30"],
    "track": ["tensorboard>=2.16"],
    "test": [
        "faiss-cpu>=1.8",
        "fastapi>=0.115",
        "hypothesis>=6.100",
        "mkdocs>=1.6",
        "onnx>=1.16",
        "pillow-heif>=0.16",
        "playwright>=1.49",
        "pyright>=1.1.380",
        "pytest>=8.2",
        "pytest-cov>=5",
        "pytest-timeout>=2.3",
        "ruff>=0.6",
        "tensorboard>=2.16",
        "transformers>=4.40",
        "triton>=3.2; platform_system == 'Linux'",
        "uvicorn>=0.30",
    ],
}

setup(
    name="resg",
    version=run_path(str(Path(__file__).with_name("pipeline") / "__init__.py"))["__version__"],
    description="Image-text matching through two semantic graphs: image regions and caption words",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    # NOTICE says which part is under which: the code, the parser's weights, the detector's weights
    license_expression="MIT AND CC-BY-SA-4.0 AND LicenseRef-Research-Use",
    license_files=["LICENSE", "NOTICE"],
    python_requires=">=3.11,<3.14",
    packages=find_packages(include=["pipeline*", "resg*"]),
    package_data={
        "pipeline.detectors": [
            "detectron2/configs/*.yaml",
            "photos/*",
            "scenes/*",
            "training/*.yaml",
        ],
        "pipeline.parsing": ["model/*", "model/**/*", "training/*.cfg"],
        "pipeline.parsing.rules": ["lexicon.tsv"],
        "resg": ["webpage.css"],
        "resg.serve": ["static/*"],
        "resg.models": ["presets/*.yaml", "photos/*"],
        "resg.kernels": ["README.md", "*/README.md"],
    },
    install_requires=[
        "click>=8.1",
        "dask>=2025.7",
        "distributed>=2025.7",
        "h5py>=3.11",
        "matplotlib>=3.8",
        "numpy>=1.26",
        "onnxruntime>=1.18",
        "Pillow>=10.3",
        "psutil>=5.9",
        "pydantic>=2.7",
        "PyYAML>=6",
        "rich>=13.7",
        "safetensors>=0.4.3",
        "spacy>=3.7.4,<4",
        "torch>=2.6",
    ],
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": ["pipeline=pipeline.cli:main", "resg=resg.cli:main"],
        "spacy_factories": [
            "caption_sentences=resg.spacy_factories:make_caption_sentences",
            "relation_triples=resg.spacy_factories:make_relation_triples",
            "scene_graph=resg.spacy_factories:make_scene_graph",
            "stepwise_parser=resg.spacy_factories:make_stepwise_parser",
            "word_lemmatizer=resg.spacy_factories:make_word_lemmatizer",
        ],
    },
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
    ],
)
