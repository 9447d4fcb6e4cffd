"""One renderer for all tests that read folders: starting its child takes longer than they do."""

from collections.abc import AsyncIterator

import pytest_asyncio

from pipeline.jail.renderer import Renderer


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def renderer() -> AsyncIterator[Renderer]:
    renderer = Renderer()
    yield renderer
    await renderer.aclose()
