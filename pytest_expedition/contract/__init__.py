"""The shipped contract suite: `pytest --pyargs pytest_expedition.contract`."""
