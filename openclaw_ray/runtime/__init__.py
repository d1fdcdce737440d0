"""The shells that wait: coordinator, dispatcher and node agent on asyncio. They know no Ray and no SQL."""
