"""Two variants, paired seeds, an interval and a page: the whole of an honest comparison."""

from dataclasses import replace
from pathlib import Path

from bitlens.recipes import RECIPES
from bitlens.report.page import write_report
from bitlens.report.runs import read_comparison
from bitlens.report.standings import standings
from bitlens.training.compare import compare


def main(folder: Path = Path("runs/example"), seeds: int = 3, images: int = 2000) -> list[str]:
    plain = replace(RECIPES["demo-plain"], train_images=images, epochs=2)
    cmim = replace(RECIPES["demo-cmim"], train_images=images, epochs=2)
    compare([plain, cmim], range(seeds), folder, baseline=plain.name, resolve=RECIPES.get)
    page = write_report([folder], folder / "report.html")
    sentences = [s.sentence for s in standings(read_comparison(folder)) if s.sentence]
    print("\n".join(sentences))
    print(f"report {page}")
    return sentences


if __name__ == "__main__":
    main()
