# %% [markdown]
# # Two images, registered
# Open this file in Jupyter with jupytext, or run it as a script.

# %%
import matplotlib.pyplot as plt
import numpy as np
from skimage import data

import cnnreg

# %% [markdown]
# A photograph, and the same one shifted and turned.

# %%
fixed = data.camera()[::2, ::2]
moving = np.roll(np.rot90(fixed), 9, axis=1)

# %%
result = cnnreg.register(fixed, moving, model="none", adapt=50)
result

# %%
figure, axes = plt.subplots(1, 3)
for axis, image, title in zip(axes, (fixed, moving, result.warped), ("fixed", "moving", "registered"), strict=True):
    axis.imshow(image, cmap="gray")
    axis.set(title=title, xticks=[], yticks=[])
figure.savefig("registered.png")
